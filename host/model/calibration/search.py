"""Auto alpha: the search for each fold's alpha that loses least under the target kernel's own arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smoothdroid.host.gguf.file_types import FLOATS
from smoothdroid.host.model.arithmetic import Arithmetic, arithmetic_of
from smoothdroid.host.model.arithmetic.ggml import Ggml
from smoothdroid.host.model.calibration.fold_scales import FoldScales, LayerTensors, PartlyFolded, no_scales
from smoothdroid.host.model.calibration.network import LmHead
from smoothdroid.host.model.calibration.windows import ReaderInputs
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.folds import Fold
from smoothdroid.host.model.smoothquant.formulas import (
    column_absmax,
    column_rms,
    max_over_shared_heads,
    repeat_over_shared_heads,
    smoothing_scales,
)

# Rows of activations that a fold's alphas are compared on. The loss is a sum over rows and outputs: its ranking
# settles with a few hundred.
MEASURED_ROWS = 512

# Rows of a weight that are quantised at once: a head of 128,000 rows would take some GB more.
SOME_ROWS = 4096

EXPERTS_DIM = 3  # [experts, out, in]

# Tokens held out for the verdict over plain, folded and rotated.
HELD_OUT_TOKENS = 2048

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

# The statistics of activations and weights that scales balance: their largest magnitudes, as in the paper, or their
# root mean squares. The scale of a block or a token follows what is large there; one rare spike does
# not show that.
STATISTICS = ("absmax", "rms")


def held_out_windows(seq_len: int) -> int:
    """Return the number of windows held out for the verdict."""
    return max(2, math.ceil(HELD_OUT_TOKENS / seq_len))


@dataclass(frozen=True)
class Exact:
    """A kernel that multiplies floats: implements Arithmetic."""

    name: str = "exact"

    def weights(self, weight: Tensor, quantisation: str) -> Tensor:
        """Return the weights as they are."""
        return weight

    def activations(self, activations: Tensor, quantisation: str) -> Tensor:
        """Return the activations as they are."""
        return activations


@dataclass(frozen=True)
class AlphaSearch:
    """A choice of alphas by measuring: implements ScaleChooser, and the trial on held-out text."""

    arithmetic: Arithmetic
    quantisation: str
    keep_every: int
    head_type: str
    embedding_type: str

    @classmethod
    def for_kernel(
        cls, kernel: str, quantisation: str, n_tokens: int, head: str | None = None, embedding: str | None = None
    ) -> AlphaSearch:
        """Make the search for the kernels of that name. Raises BadInput for an unknown one.

        `n_tokens` are calibrated on. `head` and `embedding` are the types of those tensors where they are not
        `quantisation`; floats are taken for exact.
        """
        keep_every = max(1, n_tokens // MEASURED_ROWS)
        return cls(arithmetic_of(kernel), quantisation, keep_every, head or quantisation, embedding or quantisation)

    @torch.inference_mode()
    def __call__(
        self, folds: Sequence[Fold], seen: Mapping[Fold, ReaderInputs], tensors: LayerTensors
    ) -> dict[Fold, FoldScales]:
        """Choose the scales that lose least, as ScaleChooser requires."""
        choices: dict[Fold, FoldScales] = {}
        divided = PartlyFolded(tensors)
        for fold in folds:
            readers = divided.readers(fold)
            choices[fold] = self._best(fold, seen[fold], readers)
            divided.divide(fold, choices[fold].scales)
        return choices

    def _best(self, fold: Fold, seen: ReaderInputs, readers: Sequence[Tensor]) -> FoldScales:
        ranges = seen.ranges(fold)
        rows = torch.cat(seen.rows)
        exact = [nn.functional.linear(rows, weight) for weight in readers]
        candidates = [FoldScales(None, no_scales(fold, ranges)), *_candidates(fold, ranges, rows, readers)]
        return min(candidates, key=lambda choice: self._loss(fold, choice.scales, rows, readers, exact))

    def _loss(
        self, fold: Fold, scales: Tensor, rows: Tensor, readers: Sequence[Tensor], exact: Sequence[Tensor]
    ) -> float:
        """Return the readers' squared error relative to their exact output, added up over the readers."""
        columns = repeat_over_shared_heads(scales, fold.n_heads, fold.n_kv_heads)
        stored_as = self.head_type if fold.layer is None else self.quantisation
        loss, read = 0.0, {}
        for reader, weight, wanted in zip(fold.readers, readers, exact, strict=True):
            kernel = self._multiplies(reader, stored_as)
            if kernel not in read:
                read[kernel] = kernel.activations(rows / columns, stored_as)
            error = torch.zeros(())
            for rows_of_it, wanted_of_it in zip(
                torch.split(weight, SOME_ROWS), torch.split(wanted, SOME_ROWS, dim=-1), strict=True
            ):
                stored = kernel.weights(rows_of_it * columns, stored_as)
                error += (nn.functional.linear(read[kernel], stored) - wanted_of_it).square().sum()
            loss += (error / wanted.square().sum()).item()
        return loss if math.isfinite(loss) else math.inf

    def _multiplies(self, reader: str, stored_as: str) -> Arithmetic:
        """Return the arithmetic of a reader of that type. KleidiAI leaves the experts of a mixture to ggml."""
        return Ggml() if ".experts." in reader else self._kernel(stored_as)

    def _kernel(self, stored_as: str) -> Arithmetic:
        """Return the arithmetic for weights of that type."""
        return Exact() if stored_as in FLOATS else self.arithmetic

    @contextmanager
    def emulating(self, layer: nn.Module) -> Iterator[None]:
        """Compute the layer's linears as the kernel does, within this context; its weights stay as that leaves them.

        Experts that are held together, in one tensor of three dimensions, are stored as the file holds them; what their
        last linear reads is no module's input, and stays exact.
        """
        hooks = []
        for parameter in layer.parameters():
            if parameter.dim() == EXPERTS_DIM:
                parameter.data = Ggml().weights(parameter.data, self.quantisation)
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = self.arithmetic.weights(module.weight.data, self.quantisation)
                hooks.append(
                    module.register_forward_pre_hook(
                        lambda _module, inputs: (self.arithmetic.activations(inputs[0], self.quantisation),)
                    )
                )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def stored(self, rows: Tensor) -> Tensor:
        """Return rows of the embedding as the file holds them: they are looked up, which no kernel rounds."""
        return rows if self.embedding_type in FLOATS else Ggml().weights(rows, self.embedding_type)

    def head(self, weights: Weights) -> nn.Module:
        """Return the head, computed as the kernel does."""
        kernel = self._kernel(self.head_type)
        head = LmHead(weights, lambda rows: kernel.weights(rows, self.head_type))
        head.register_forward_pre_hook(lambda _head, inputs: (kernel.activations(inputs[0].float(), self.head_type),))
        return head


def _candidates(fold: Fold, ranges: Tensor, rows: Tensor, readers: Sequence[Tensor]) -> Iterator[FoldScales]:
    shared = (fold.n_heads, fold.n_kv_heads)
    sizes = {
        "absmax": (ranges, column_absmax(readers)),
        "rms": (column_rms([rows]), column_rms(readers)),
    }
    for statistic in STATISTICS:
        activations, weights = (max_over_shared_heads(size, *shared) for size in sizes[statistic])
        for alpha in ALPHAS:
            yield FoldScales(alpha, smoothing_scales(activations, weights, alpha), statistic)
