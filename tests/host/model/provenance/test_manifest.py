from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.host.model.provenance.manifest import (
    PREPARATION_VERSION,
    AutoAlpha,
    FoldAlpha,
    Manifest,
    Recipe,
    Smoothing,
    SmoothingOutcome,
    SourceCheckpoint,
    changes_path,
    manifest_path,
    read_finished,
)

SMOOTHING = Smoothing(
    alpha={"norm": 0.5},
    folds=("norm",),
    rotate=False,
    untie=False,
    n_samples=2,
    seq_len=16,
    seed=0,
    calibration_text="t",
    calibration_sha256="0",
)
RECIPE = Recipe(
    preparation=PREPARATION_VERSION,
    source=SourceCheckpoint(name="m", revision=None, weights_sha256={"w": "1"}, companions_sha256={}),
    architecture="LlamaForCausalLM",
    quantisation="q8_0",
    llama_cpp="id",
    smoothing=SMOOTHING,
)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"12345")
    manifest = Manifest(
        file="m.gguf",
        sha256="2",
        size_bytes=5,
        n_parameters=5,
        bits_per_weight=8.0,
        recipe=RECIPE,
        outcome=None,
        versions={},
    )
    manifest_path(file).write_text(manifest.model_dump_json(indent=2))
    changes_path(file).write_bytes(b"")
    return file


def test_a_finished_file_is_found(gguf: Path) -> None:
    found = read_finished(gguf, RECIPE)
    assert found is not None
    assert (found.sha256, found.recipe) == ("2", RECIPE)
    assert manifest_path(gguf).name == "m.gguf.json"
    changes_path(gguf).unlink()
    assert read_finished(gguf, RECIPE) is None, "no adapter could be made for it"


@pytest.mark.parametrize(
    "other",
    [
        RECIPE.model_copy(update={"smoothing": SMOOTHING.model_copy(update={"alpha": {"norm": 0.6}})}),
        RECIPE.model_copy(
            update={"smoothing": SMOOTHING.model_copy(update={"alpha": AutoAlpha(kernel="ggml", quantisation="q8_0")})}
        ),
        RECIPE.model_copy(update={"smoothing": SMOOTHING.model_copy(update={"rotate": True})}),
        RECIPE.model_copy(update={"preparation": PREPARATION_VERSION - 1}),
        RECIPE.model_copy(update={"quantisation": "q4_0"}),
        RECIPE.model_copy(update={"smoothing": None}),
        RECIPE.model_copy(update={"llama_cpp": "another"}),
        RECIPE.model_copy(
            update={
                "source": SourceCheckpoint(name="m", revision=None, weights_sha256={"w": "9"}, companions_sha256={})
            }
        ),
    ],
)
def test_a_file_of_another_recipe_is_not(gguf: Path, other: Recipe) -> None:
    assert read_finished(gguf, other) is None


def test_a_file_cut_short_is_not(gguf: Path) -> None:
    gguf.write_bytes(b"1234")
    assert read_finished(gguf, RECIPE) is None


@pytest.mark.parametrize("content", ["", "{}", "[", '{"kind": "smoothdroid-artifact"}'])
def test_a_damaged_manifest_is_no_manifest(gguf: Path, content: str) -> None:
    manifest_path(gguf).write_text(content)
    assert read_finished(gguf, RECIPE) is None


def test_a_missing_file_is_not_finished(gguf: Path) -> None:
    gguf.unlink()
    assert read_finished(gguf, RECIPE) is None


def test_the_alphas_of_an_older_manifest_are_read() -> None:
    alpha = FoldAlpha(kind="norm", layer=0, expert=None, fold="a -> b", alpha=0.5, statistic="rms")
    outcome = SmoothingOutcome(
        chosen="folded", equivalence=None, alphas=(alpha,), held_out=None, untied=False, calibrated_in="float32"
    )
    written = outcome.model_dump_json()
    assert SmoothingOutcome.model_validate_json(written) == outcome
    assert SmoothingOutcome.model_validate_json(written.replace('"alphas"', '"strengths"')) == outcome
