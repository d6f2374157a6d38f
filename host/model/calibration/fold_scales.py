"""SmoothQuant's scales for the folds of one layer, at a given alpha."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smoothdroid.host.model.calibration.windows import ReaderInputs
from smoothdroid.host.model.smoothquant.folds import Fold, Kind
from smoothdroid.host.model.smoothquant.formulas import column_absmax, max_over_shared_heads, smoothing_scales
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange


class LayerTensors(Protocol):
    """A layer's tensors as they are before the folds, float32."""

    def read(self, name: str) -> Tensor:
        """Return the tensor of that name."""
        ...

    def parts(self, name: str) -> Iterator[Tensor]:
        """Yield the tensor of that name, some rows at a time."""
        ...


@dataclass(frozen=True)
class FoldScales:
    """A fold's alpha (None: not folded) and its scales, float32, one for each channel of the fold's source.

    `statistic` names the property of activations and weights that the scales balance: "absmax" or "rms".
    """

    alpha: float | None
    scales: Tensor
    statistic: str = "absmax"


class ScaleChooser(Protocol):
    """A way to choose the scales of a layer's folds."""

    @property
    def keep_every(self) -> int:
        """The distance of the calibration's rows that are kept to choose by; 0 for none."""
        ...

    def __call__(
        self, folds: Sequence[Fold], seen: Mapping[Fold, ReaderInputs], tensors: LayerTensors
    ) -> dict[Fold, FoldScales]:
        """Choose the scales of each of the folds of one layer, which come in the order of `folds.KINDS`."""
        ...


@dataclass(frozen=True)
class GivenAlphas:
    """The user's alpha for each kind of fold: implements ScaleChooser."""

    alphas: Mapping[Kind, float]
    keep_every: int = 0

    def __call__(
        self, folds: Sequence[Fold], seen: Mapping[Fold, ReaderInputs], tensors: LayerTensors
    ) -> dict[Fold, FoldScales]:
        """Compute the scales at the given alphas, as ScaleChooser requires."""
        choices: dict[Fold, FoldScales] = {}
        divided = PartlyFolded(tensors)
        for fold in folds:
            alpha = self.alphas[fold.kind]
            scales = scales_of(fold, seen[fold].ranges(fold), divided.parts(fold), alpha)
            choices[fold] = FoldScales(alpha, scales)
            divided.divide(fold, scales)
        return choices


class PartlyFolded:
    """The tensors of a layer while its folds are chosen: the earlier folds have divided their rows.

    A fold that divides rows of `up` or `v` changes their columns' maxima, which the norm before them is balanced
    against. No fold reaches beyond its layer.
    """

    def __init__(self, tensors: LayerTensors) -> None:
        """Begin with the tensors as they are before the folds."""
        self._tensors = tensors
        self._changes: dict[str, TensorChange] = {}

    def readers(self, fold: Fold) -> list[Tensor]:
        """Return the weights [out, channels] of the fold's readers."""
        return [
            self._changes.get(name, TensorChange()).apply(self._tensors.read(name))
            for name in (f"{reader}.weight" for reader in fold.readers)
        ]

    def parts(self, fold: Fold) -> Iterator[Tensor]:
        """Yield the weights of the fold's readers, some rows at a time where their rows are not divided."""
        for name in (f"{reader}.weight" for reader in fold.readers):
            if name in self._changes:
                yield self._changes[name].apply(self._tensors.read(name))
            else:
                yield from self._tensors.parts(name)

    def divide(self, fold: Fold, scales: Tensor) -> None:
        """Divide the fold's source by its scales."""
        self._changes[f"{fold.source}.weight"] = TensorChange(rows=scales, offset=fold.source_offset)


def scales_of(fold: Fold, ranges: Tensor, readers: Iterable[Tensor], alpha: float) -> Tensor:
    """Return SmoothQuant's scales [channels of the source]; `ranges` are the maxima of the readers' inputs."""
    shared = (fold.n_heads, fold.n_kv_heads)
    return smoothing_scales(
        max_over_shared_heads(ranges, *shared), max_over_shared_heads(column_absmax(readers), *shared), alpha
    )


def no_scales(fold: Fold, ranges: Tensor) -> Tensor:
    """Return scales of 1, as many as the fold's source has channels."""
    return torch.ones(len(max_over_shared_heads(ranges, fold.n_heads, fold.n_kv_heads)))
