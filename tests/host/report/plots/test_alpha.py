from __future__ import annotations

from pathlib import Path

import numpy as np

from smoothdroid.host.model.provenance.manifest import (
    PREPARATION_VERSION,
    FoldAlpha,
    HeldOut,
    Manifest,
    Recipe,
    SmoothingOutcome,
    SourceCheckpoint,
)
from smoothdroid.host.report.plots.alpha import NOT_FOLDED, alpha_by_layer, series, write


def strength(layer: int | None, alpha: float | None, fold: str, expert: int | None = None) -> FoldAlpha:
    return FoldAlpha(kind="norm", layer=layer, expert=expert, fold=fold, alpha=alpha, statistic="rms")


STRENGTHS = (
    strength(0, 0.5, "model.layers.0.input_layernorm -> q_proj, k_proj"),
    strength(1, None, "model.layers.1.input_layernorm -> q_proj, k_proj"),
    strength(1, 0.7, "model.layers.1.experts.0.w3 -> w2", expert=0),
    strength(1, 0.3, "model.layers.1.experts.1.w3 -> w2", expert=1),
    strength(None, 0.4, "model.norm -> lm_head"),
)


def manifest() -> Manifest:
    source = SourceCheckpoint(name="m", revision=None, weights_sha256={}, companions_sha256={})
    return Manifest(
        recipe=Recipe(
            preparation=PREPARATION_VERSION,
            source=source,
            architecture="LlamaForCausalLM",
            quantisation="q8_0",
            llama_cpp="id",
            smoothing=None,
        ),
        outcome=SmoothingOutcome(
            chosen="folded",
            equivalence=None,
            alphas=STRENGTHS,
            held_out=HeldOut(n_tokens=1, kld={}),
            untied=False,
            calibrated_in="float32",
        ),
        versions={},
        file="m.gguf",
        sha256="0",
        size_bytes=1,
        n_parameters=1,
        bits_per_weight=8,
    )


def test_a_line_a_fold() -> None:
    assert series(STRENGTHS) == {
        "input_layernorm -> q_proj, k_proj": [(0, 0.5), (1, None)],
        "norm of experts": [(1, 0.7), (1, 0.3)],
        "last norm -> head": [(2, 0.4)],
    }


def test_every_fold_is_drawn_and_one_left_out_below_zero() -> None:
    (axes,) = alpha_by_layer(manifest()).axes
    drawn = {tuple(point) for line in axes.lines for point in np.asarray(line.get_xydata()).tolist()}
    assert drawn == {(0, 0.5), (1, NOT_FOLDED), (1, 0.7), (1, 0.3), (2, 0.4)}
    low, high = axes.get_ylim()
    assert low < NOT_FOLDED < 1 < high


def test_it_lies_beside_the_gguf(tmp_path: Path) -> None:
    picture = write(manifest(), tmp_path / "m.gguf")
    assert picture == tmp_path / "m.gguf.alpha.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
