from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from device.errors import SmoothdroidError
from host.model.calibrate import activation_absmax
from host.model.checkpoint import open_checkpoint
from host.model.fold_checkpoint import fold_checkpoint, require_equivalent
from host.model.folds import Fold, expand, folds_of
from host.model.manifest import Equivalence, Smoothing
from host.model.network import load_model, logits
from host.model.prose import calibration_prose

MakeCheckpoint = Callable[..., Path]
FOLDS = expand(folds_of("LlamaForCausalLM"), 2)
WINDOWS = torch.randint(3, 200, (2, 24), generator=torch.Generator().manual_seed(9))


def fold(
    folder: Path, out: Path, prose: Path, *, folds: tuple[Fold, ...] = FOLDS, alpha: float = 0.5
) -> tuple[Path, Equivalence]:
    text = calibration_prose(prose)
    settings = Smoothing(
        alpha=alpha,
        n_samples=4,
        seq_len=32,
        seed=0,
        calibration_text=text.name,
        calibration_sha256=text.sha256,
        folds=(),
    )
    return fold_checkpoint(
        open_checkpoint(folder), folder, out, folds=folds, settings=settings, text=text, say=lambda _step: None
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tied", [False, True])
def test_the_folded_model_is_the_same_function(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, tied: bool, alpha: float
) -> None:
    """Norm weights far from 1, GQA, biases, tied and untied embeddings: the logits stay, the weights do not."""
    folder = make_checkpoint(tied=tied)
    folded, equivalence = fold(folder, tmp_path / "folded", prose, alpha=alpha)
    before: Any = load_model(folder)
    after: Any = load_model(folded)
    assert logits(before, WINDOWS).std() > 0.1
    assert (logits(before, WINDOWS) - logits(after, WINDOWS)).abs().max() < 1e-4
    assert 0 < equivalence.max_abs_logit_difference < 1e-4
    assert equivalence.n_tokens == 2 * 32
    for one in FOLDS:
        for module in (one.norm, *one.linears):
            assert not torch.allclose(before.get_submodule(module).weight, after.get_submodule(module).weight, rtol=0.1)


def test_the_outlier_channel_shrinks(make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path) -> None:
    folder = make_checkpoint()
    folded, _ = fold(folder, tmp_path / "folded", prose)
    for norm, before in activation_absmax(load_model(folder), WINDOWS, FOLDS).items():
        after = activation_absmax(load_model(folded), WINDOWS, FOLDS)[norm]
        assert before.argmax() == 5
        assert after.max() / after.median() < 0.5 * before.max() / before.median()


def test_a_fold_that_leaves_a_linear_out_is_refused(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path
) -> None:
    folds = tuple(Fold(one.norm, one.linears[1:]) for one in FOLDS)
    with pytest.raises(SmoothdroidError, match="not the same function: a logit differs by"):
        fold(make_checkpoint(), tmp_path / "folded", prose, folds=folds)


@pytest.mark.parametrize("difference", [1.1e-3, math.inf, math.nan])
def test_what_is_no_rounding_is_refused(make_checkpoint: MakeCheckpoint, difference: float) -> None:
    checkpoint = open_checkpoint(make_checkpoint())
    require_equivalent(checkpoint, 0.9e-3)
    with pytest.raises(SmoothdroidError, match="not the same function"):
        require_equivalent(checkpoint, difference)
