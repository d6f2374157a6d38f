"""One pass over a checkpoint's decoder layers: ranges, scales, folds, and the proof that the function stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.model.calibration.float64_proof import InFloat64
from smoothdroid.host.model.calibration.fold_scales import FoldScales, ScaleChooser
from smoothdroid.host.model.calibration.input_squares import InputSquares
from smoothdroid.host.model.calibration.network import HiddenStates, Network
from smoothdroid.host.model.calibration.windows import (
    HELD_OUT_TOKENS,
    HELD_OUT_WINDOWS,
    ReaderInputs,
    Windows,
    record_inputs,
)
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.provenance.manifest import Equivalence
from smoothdroid.host.model.smoothquant.folds import Fold
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChanges, fold_changes

# Folding is exact but for float32's rounding. Rounding is relative to what is rounded, so what is allowed is a part of
# the logits' range: an absolute bound would refuse a sound model with a loud head, and miss a wrong fold in one whose
# logits hardly differ. 3e-5 is 1e-3 on a range of 33, which is usual. Rounding alone is some 1e-6 of the range on
# SmolLM2-135M (7e-5 of 80) and on random models of every architecture, 1e-5 at worst; a wrong fold (a linear left
# out, a norm that feeds something else too) is 1e-3 or more of it.
MAX_RELATIVE_DIFFERENCE = 3e-5

# The same in float64, in which a proof that fails in float32 is repeated: some models amplify rounding (a random
# Gemma 2: 6e-5 in float32). It has nine more digits, of which as many may be lost.
MAX_IN_FLOAT64 = 1e-7


@dataclass(frozen=True)
class FoldingResult:
    """The result of a pass: the changes to the tensors, the scales of each fold, and the proof."""

    changes: TensorChanges
    choices: Mapping[Fold, FoldScales]
    equivalence: Equivalence
    calibrated_in: str
    trial: Mapping[str, float]
    """The mean KLD to float32 of the emulated kernel, "plain" and "folded"; empty without a trial."""


class Trial(Protocol):
    """A kernel to try the model under, plain and folded, on held-out text."""

    def emulating(self, layer: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which the layer's linears compute as the kernel does."""
        ...

    def stored(self, rows: Tensor) -> Tensor:
        """Return rows of the embedding as the file holds them."""
        ...

    def head(self, weights: Weights) -> nn.Module:
        """Return the head, computed as the kernel does."""
        ...


def fold_layers(
    network: Network,
    checkpoint: Checkpoint,
    windows: Windows,
    folds: Sequence[Fold],
    choose: ScaleChooser,
    *,
    rotated: TensorChanges | None = None,
    trial: Trial | None = None,
    squares: InputSquares | None = None,
    on_progress: OnProgress | None = None,
) -> FoldingResult:
    """Go through the layers once; each one's weights are read, calibrated on, folded, proven and dropped.

    `rotated`: the changes by rotating the residual stream, before the folds. `trial`: a kernel to try the model under.
    `squares` records the inputs of every linear before the folds.
    Raises BadInput where a weight or an activation is no finite number, SmoothdroidError where the folded model is not
    the same function.
    """
    layers = _LayerPass(network, checkpoint, windows, choose, rotated, trial, squares)
    for number in range(network.sizes.n_layers):
        layers.fold(number, [fold for fold in folds if fold.layer == number])
        if on_progress:
            on_progress("layers", number + 1, network.sizes.n_layers)
    if head := [fold for fold in folds if fold.layer is None]:
        layers.fold_head(head)
    return layers.result()


class _LayerPass:
    """A pass under way: the hidden states of the calibration, of the original, of the folded model, and of the trial.

    `_before` are the weights before the folds, and `_after` those with the changes so far.
    """

    def __init__(
        self,
        network: Network,
        checkpoint: Checkpoint,
        windows: Windows,
        choose: ScaleChooser,
        rotated: TensorChanges | None,
        trial: Trial | None,
        squares: InputSquares | None,
    ) -> None:
        self._network, self._checkpoint, self._choose, self._trial = network, checkpoint, choose, trial
        self._squares = squares
        self._original, self._before = Weights(checkpoint), Weights(checkpoint, rotated)
        self._after = self._before
        self._choices: dict[Fold, FoldScales] = {}
        self._dtype = _calibration_dtype(checkpoint, network.device)
        self._few = windows.held_out[:HELD_OUT_WINDOWS, :HELD_OUT_TOKENS]
        unseen = windows.held_out if trial else self._few
        self._calibrated = network.begin(windows.calibration, self._before, self._dtype)
        self._reference, self._folded = network.begin(unseen, self._original), network.begin(unseen, self._before)
        self._tried: dict[str, HiddenStates] = {}
        if trial:
            for name, weights in (("plain", self._original), ("folded", self._before)):
                self._tried[name] = network.begin(unseen, weights, rounding=trial.stored)

    def fold(self, number: int, folds: Sequence[Fold]) -> None:
        """Choose the scales of a layer's folds, and take all hidden states through the layer."""
        network = self._network
        with (
            network.layer(number, lambda name: self._before.read(name, self._dtype)) as layer,
            record_inputs(layer, number, folds, self._choose.keep_every) as seen,
            self._squares.recording(layer, number) if self._squares else nullcontext(),
        ):
            network.advance(self._calibrated, number, layer)
        self._add(folds, seen)
        for name, weights, states in (
            ("plain", self._original, self._reference),
            ("folded", self._after, self._folded),
        ):
            with network.layer(number, weights.read) as layer:
                network.advance(states, number, layer)
                if self._trial:
                    with self._trial.emulating(layer):
                        network.advance(self._tried[name], number, layer)

    def fold_head(self, folds: Sequence[Fold]) -> None:
        """Choose the scales of the folds into the head, after all layers."""
        keep_every = self._choose.keep_every
        self._add(
            folds, {fold: self._network.head_inputs(self._calibrated, self._before, keep_every) for fold in folds}
        )

    def result(self) -> FoldingResult:
        """Prove that the function stayed, and return the result."""
        logits = self._network.logits
        expected = logits(self._reference, self._original)
        equivalence = compare(expected, logits(self._folded, self._after))
        if not is_equivalent(equivalence):
            equivalence = compare_in_float64(self._network, self._original, self._after, self._few)
        require_equivalent(self._checkpoint, equivalence)
        return FoldingResult(
            self._after.changes,
            self._choices,
            equivalence,
            calibrated_in=str(self._dtype).removeprefix("torch."),
            trial={
                name: mean_kld(expected, logits(self._tried[name], weights, self._trial.head(weights)))
                for name, weights in (("plain", self._original), ("folded", self._after))
                if self._trial
            },
        )

    def _add(self, folds: Sequence[Fold], seen: Mapping[Fold, ReaderInputs]) -> None:
        chosen = self._choose(folds, seen, self._before)
        self._choices.update(chosen)
        scales = {fold: choice.scales for fold, choice in chosen.items()}
        changes = fold_changes(scales, self._checkpoint.tensors, self._after.changes)
        self._after = Weights(self._checkpoint, changes)


def mean_kld(reference: Tensor, other: Tensor) -> float:
    """Return the mean over tokens of KL(reference || other), in nats, of logits [windows, tokens, vocabulary]."""
    total = 0.0
    for wanted, got in zip(reference, other, strict=True):  # a window at a time: a vocabulary may be large
        expected = wanted.log_softmax(dim=-1)
        total += (expected.exp() * (expected - got.log_softmax(dim=-1))).sum().item()
    return total / reference.shape[:-1].numel()


def compare(reference: Tensor, folded: Tensor) -> Equivalence:
    """Compare the logits [windows, tokens, vocabulary] of the folded model with the reference's."""
    low, high = reference.aminmax()
    return Equivalence(
        max_abs_logit_difference=(folded - reference).abs().max().item(),
        logit_range=(high - low).item(),
        n_tokens=reference.shape[:-1].numel(),
    )


def compare_in_float64(network: Network, original: Weights, folded: Weights, windows: Tensor) -> Equivalence:
    """Compare the logits of two models on these windows, both computed in float64, the changes too.

    Some models amplify float32's rounding beyond what is allowed, on the way through their layers, folded or not.
    """
    with InFloat64():
        logits = [logits_of(network, weights, windows, torch.float64) for weights in (original, folded)]
        return compare(*logits).model_copy(update={"computed_in": "float64"})


def logits_of(network: Network, weights: Weights, windows: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the logits [windows, tokens, vocabulary] of a model on windows of token ids, computed in `dtype`."""
    stream = network.begin(windows, weights, dtype)
    for number in range(network.sizes.n_layers):
        with network.layer(number, partial(weights.read, dtype=dtype)) as layer:
            network.advance(stream, number, layer)
    return network.logits(stream, weights)


def is_equivalent(equivalence: Equivalence) -> bool:
    """Return whether no logit moved by more than rounding moves it, and each is a number."""
    return equivalence.max_abs_logit_difference <= _allowed(equivalence)  # false of NaN


def _allowed(equivalence: Equivalence) -> float:
    in_float64 = equivalence.computed_in == "float64"
    return (MAX_IN_FLOAT64 if in_float64 else MAX_RELATIVE_DIFFERENCE) * equivalence.logit_range


def require_equivalent(checkpoint: Checkpoint, equivalence: Equivalence) -> None:
    """Raise SmoothdroidError where a logit moved by more than rounding does, or is not a number."""
    if not is_equivalent(equivalence):
        difference, allowed = equivalence.max_abs_logit_difference, _allowed(equivalence)
        raise SmoothdroidError(
            f"{checkpoint.path}: the smoothed model is not the same function: a logit differs by {difference:.3g} in "
            f"{equivalence.computed_in}, and rounding explains {allowed:.3g} (the logits' range is "
            f"{equivalence.logit_range:.3g}). Nothing was written. Either the weights are damaged, or this is no usual "
            f"{checkpoint.architecture}: its norms or linears feed something that the table of folds leaves out."
        )


def _calibration_dtype(checkpoint: Checkpoint, device: torch.device) -> torch.dtype:
    """Return bfloat16 where the model was made in it and the machine multiplies it: four times as fast as float32.

    Ranges need no more digits; all that is written is computed in float32.
    """
    in_bf16 = {tensor.dtype for tensor in checkpoint.tensors.values() if len(tensor.shape) > 1} == {"BF16"}
    able = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if in_bf16 and able else torch.float32
