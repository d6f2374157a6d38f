from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.provenance.inspect import inspect, lines
from smoothdroid.host.model.provenance.manifest import (
    METADATA_KEY,
    AutoAlpha,
    Equivalence,
    FoldAlpha,
    HeldOut,
    Provenance,
    Recipe,
    Smoothing,
    SmoothingOutcome,
    SourceCheckpoint,
)
from tests.host.tiny_gguf import write_llama

SMOOTHING = Smoothing(
    alpha=AutoAlpha(kernel="ggml", quantisation="q8_0"),
    folds=("v-o", "up-down", "norm"),
    rotate=False,
    untie=False,
    n_samples=4,
    seq_len=32,
    seed=0,
    calibration_text="prose.txt",
    calibration_sha256="0123456789abcdef0123",
)
OUTCOME = SmoothingOutcome(
    chosen="folded",
    equivalence=Equivalence(max_abs_logit_difference=1e-5, logit_range=20.0, n_tokens=128),
    alphas=tuple(
        FoldAlpha(kind="norm", layer=layer, expert=None, fold="norm -> q_proj", alpha=alpha, statistic="rms")
        for layer, alpha in enumerate((0.5, 0.5, None))
    ),
    held_out=HeldOut(n_tokens=2048, kld={"plain": 0.012, "folded": 0.004}),
    untied=False,
    calibrated_in="float32",
)
SMOOTH = Provenance(
    recipe=Recipe(
        preparation=1,
        source=SourceCheckpoint(name="m", revision=None, weights_sha256={"w": "1"}, companions_sha256={}),
        architecture="LlamaForCausalLM",
        quantisation="q8_0",
        llama_cpp="b1",
        smoothing=SMOOTHING,
    ),
    outcome=OUTCOME,
    versions={"torch": "2"},
)
PLAIN = SMOOTH.model_copy(update={"recipe": SMOOTH.recipe.model_copy(update={"smoothing": None}), "outcome": None})


def test_a_file_tells_how_it_was_made(tmp_path: Path) -> None:
    """test_prepare.py shows that `prepare` writes the provenance into the file."""
    inspected = inspect(write_llama(tmp_path / "smooth.gguf", texts={METADATA_KEY: SMOOTH.model_dump_json()}))
    assert inspected.provenance == SMOOTH
    described = dict(lines(inspected))
    assert described["smoothing"] == "alpha auto, for q8_0 on ggml; folds v-o, up-down, norm"
    assert described["calibrated on"].startswith("4 windows of 32 tokens of prose.txt (sha256 0123456789abcdef…)")
    assert described["held-out KLD"].startswith("plain 0.012, folded 0.004 (")
    assert described["proof"].startswith("float32 logits differ by at most 1e-05 of a range of 20")
    assert described["alpha, norm"] == "not folded x1, 0.5 x2"
    assert described["  w"] == "sha256 1"
    plain = inspect(write_llama(tmp_path / "plain.gguf", texts={METADATA_KEY: PLAIN.model_dump_json()}))
    assert dict(lines(plain))["smoothing"] == "none: plain"


def test_a_provenance_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="another version of smoothdroid wrote it"):
        inspect(write_llama(tmp_path / "new.gguf", texts={METADATA_KEY: "{}"}))


def test_a_file_of_another_tool(tmp_path: Path) -> None:
    described = dict(lines(inspect(write_llama(tmp_path / "theirs.gguf"))))
    assert described["made by"] == "another tool, which left no description"


def test_what_is_no_gguf(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no file"):
        inspect(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("this is not one" * 10)
    with pytest.raises(BadInput, match="no GGUF file"):
        inspect(tmp_path / "text.gguf")
    whole = write_llama(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cut short or damaged"):
        inspect(tmp_path / "cut.gguf")
