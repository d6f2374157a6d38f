"""SmoothQuant's scales for the folds of one layer, at a given strength."""

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
        """The tensor of that name."""
        ...

    def parts(self, name: str) -> Iterator[Tensor]:
        """The same, some rows at a time."""
        ...


@dataclass(frozen=True)
class FoldScales:
    """A fold's strength (None: not folded) and its scales, float32, one for each channel of the fold's source.

    `statistic` says what of activations and weights the scales balance.
    """

    alpha: float | None
    scales: Tensor
    statistic: str = "absmax"


class ScaleChooser(Protocol):
    """How a layer's folds get their scales."""

    @property
    def keep_every(self) -> int:
        """How many of the calibration's rows it wants to see: every so many; 0 for none."""
        ...

    def __call__(
        self, folds: Sequence[Fold], seen: Mapping[Fold, ReaderInputs], tensors: LayerTensors
    ) -> dict[Fold, FoldScales]:
        """A choice for each of the folds of one layer, which come in the order of `folds.KINDS`."""
        ...


@dataclass(frozen=True)
class GivenAlphas:
    """The strength that the user gave for each kind of fold."""

    alphas: Mapping[Kind, float]
    keep_every: int = 0

    def __call__(
        self, folds: Sequence[Fold], seen: Mapping[Fold, ReaderInputs], tensors: LayerTensors
    ) -> dict[Fold, FoldScales]:
        """See ScaleChooser."""
        choices: dict[Fold, FoldScales] = {}
        divided = PartlyFolded(tensors)
        for fold in folds:
            alpha = self.alphas[fold.kind]
            scales = scales_of(fold, seen[fold].ranges(fold), divided.parts(fold), alpha)
            choices[fold] = FoldScales(alpha, scales)
            divided.divide(fold, scales)
        return choices


class PartlyFolded:
    """A layer's tensors as the folds before have left their rows.

    A fold that divides rows of `up` or `v` changes their columns' maxima, which the norm before them is balanced
    against. No fold reaches beyond its layer.
    """

    def __init__(self, tensors: LayerTensors) -> None:
        self._tensors = tensors
        self._changes: dict[str, TensorChange] = {}

    def readers(self, fold: Fold) -> list[Tensor]:
        """The weights [out, channels] of the fold's readers."""
        return [
            self._changes.get(name, TensorChange()).apply(self._tensors.read(name))
            for name in (f"{reader}.weight" for reader in fold.readers)
        ]

    def parts(self, fold: Fold) -> Iterator[Tensor]:
        """The same, some rows at a time where their rows are not divided."""
        for name in (f"{reader}.weight" for reader in fold.readers):
            if name in self._changes:
                yield self._changes[name].apply(self._tensors.read(name))
            else:
                yield from self._tensors.parts(name)

    def divide(self, fold: Fold, scales: Tensor) -> None:
        """Divide the fold's source by its scales."""
        self._changes[f"{fold.source}.weight"] = TensorChange(rows=scales, offset=fold.source_offset)


def scales_of(fold: Fold, ranges: Tensor, readers: Iterable[Tensor], alpha: float) -> Tensor:
    """SmoothQuant's scales [channels of the source]; `ranges` are those of what the readers read."""
    shared = (fold.n_heads, fold.n_kv_heads)
    return smoothing_scales(
        max_over_shared_heads(ranges, *shared), max_over_shared_heads(column_absmax(readers), *shared), alpha
    )


def no_scales(fold: Fold, ranges: Tensor) -> Tensor:
    """Scales of 1, as many as the fold's source has channels."""
    return torch.ones(len(max_over_shared_heads(ranges, fold.n_heads, fold.n_kv_heads)))
