from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from smoothdroid.host.model.calibration.fold_scales import GivenAlphas, no_scales
from smoothdroid.host.model.calibration.windows import ReaderInputs
from smoothdroid.host.model.provenance.manifest import PREPARATION_VERSION
from smoothdroid.host.model.smoothquant.folds import Fold

UP_DOWN = Fold("up-down", "up", ("down",))
NORM = Fold("norm", "norm", ("up",), source_offset=1.0)
TENSORS = {
    "norm.weight": torch.tensor([0.0, 3.0]),
    "up.weight": torch.tensor([[1.0, 2.0], [8.0, 1.0]]),
    "down.weight": torch.tensor([[4.0, 0.5], [-1.0, 1.0]]),
}


class Held(dict[str, torch.Tensor]):
    """Tensors in memory."""

    def read(self, name: str) -> torch.Tensor:
        return self[name]

    def parts(self, name: str) -> Iterator[torch.Tensor]:
        yield from torch.split(self[name], 1)


def chosen(folds: dict[Fold, list[float]], alphas: dict[str, float]) -> dict[Fold, list[float]]:
    seen = {fold: ReaderInputs() for fold in folds}
    for fold, activations in folds.items():
        seen[fold].add(torch.tensor([activations]))
    choices = GivenAlphas(alphas)(list(folds), seen, Held(TENSORS))  # type: ignore[arg-type]
    assert {fold: choice.alpha for fold, choice in choices.items()} == {fold: alphas[fold.kind] for fold in folds}
    return {fold: choice.scales.tolist() for fold, choice in choices.items()}


def test_scales_by_hand() -> None:
    """up -> down first: s = sqrt(a / w) = sqrt(4/4), sqrt(16/1). The norm then sees up's second row divided by 4."""
    scales = chosen({UP_DOWN: [4.0, -16.0], NORM: [1.0, 8.0]}, {"up-down": 0.5, "norm": 0.5})
    assert scales[UP_DOWN] == [1, 4]
    assert scales[NORM] == pytest.approx([(1 / 2) ** 0.5, (8 / 2) ** 0.5])


def test_each_kind_has_its_own_strength() -> None:
    scales = chosen({UP_DOWN: [4.0, 16.0], NORM: [1.0, 8.0]}, {"up-down": 1.0, "norm": 0.0})
    assert scales[UP_DOWN] == [4, 16]  # max|X|
    assert scales[NORM] == [2, 2]  # 1 / max|W| of up, its rows divided: [[1/4, 2/4], [8/16, 1/16]]


def test_heads_that_share_have_one_scale() -> None:
    """4 query heads of 1 channel, 2 kv heads."""
    fold = Fold("v-o", "qkv", ("o",), n_heads=4, n_kv_heads=2)
    seen = ReaderInputs()
    seen.add(torch.tensor([[16.0, 1, 1, 9]]))
    tensors = {"o.weight": torch.tensor([[1.0, 4, 1, 1]])}
    choices = GivenAlphas({"v-o": 0.5})([fold], {fold: seen}, Held(tensors))
    assert choices[fold].scales.tolist() == [2, 3]
    assert no_scales(fold, torch.ones(4)).tolist() == [1, 1]


def test_other_scales_for_the_same_settings_are_another_version() -> None:
    """These figures belong to this version. Whoever has to change them here counts PREPARATION_VERSION on."""
    scales = chosen({UP_DOWN: [4.0, 16.0], NORM: [1.0, 8.0]}, {"up-down": 0.3, "norm": 0.7})
    assert PREPARATION_VERSION == 4
    assert [*scales[UP_DOWN], *scales[NORM]] == pytest.approx([0.5743, 2.2974, 0.6878, 2.9485], abs=1e-3)
