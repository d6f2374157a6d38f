from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file

from device.errors import BadInput, SmoothdroidError
from host.model.prepare import prepare
from host.pypi import sha256_of

MakeCheckpoint = Callable[..., Path]
SMALL: dict[str, Any] = {"n_samples": 4, "seq_len": 32}


def dequantised(gguf: Path) -> dict[str, np.ndarray]:
    return {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(gguf).tensors}


def test_prepare_end_to_end(make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path) -> None:
    """Both files are made, described truly, found again, and made to the same bytes anew."""
    model, output = make_checkpoint(), tmp_path / "out"
    settings: dict[str, Any] = {**SMALL, "llama_cpp": llama_cpp, "llama_cpp_id": "b1", "calib": prose}
    smooth, plain = prepare(model, output, plain=True, **settings)

    assert sorted(file.name for file in output.iterdir()) == [
        "tiny-plain-q8_0.gguf",
        "tiny-plain-q8_0.gguf.json",
        "tiny-smooth-q8_0.gguf",
        "tiny-smooth-q8_0.gguf.json",
    ]
    for artifact in (smooth, plain):
        assert not artifact.reused
        assert artifact.sha256 == sha256_of(artifact.path)
        assert artifact.size_bytes == artifact.path.stat().st_size
        assert json.loads(artifact.manifest_path.read_text()) == artifact.manifest.model_dump(mode="json")
        assert 8.5 <= artifact.manifest.bits_per_weight < 9
        assert artifact.manifest.recipe.source.weights_sha256 == {
            "model.safetensors": sha256_of(model / "model.safetensors")
        }
        assert artifact.manifest.recipe.llama_cpp == "b1"
    assert smooth.manifest.equivalence is not None
    assert smooth.manifest.equivalence.max_abs_logit_difference < 1e-4
    assert smooth.manifest.recipe.smoothing is not None
    assert smooth.manifest.recipe.smoothing.alpha == 0.5
    assert plain.manifest.equivalence is None
    names = [GGUFReader(artifact.path).fields["general.name"].contents() for artifact in (smooth, plain)]
    assert names == ["tiny smooth", "tiny"]

    # What the norm gives and the linear takes together is the original's, up to Q8_0's rounding.
    original, folded = load_file(model / "model.safetensors"), dequantised(smooth.path)
    norm, up = folded["blk.1.ffn_norm.weight"], folded["blk.1.ffn_up.weight"]
    before = (
        original["model.layers.1.post_attention_layernorm.weight"] * original["model.layers.1.mlp.up_proj.weight"]
    ).numpy()
    assert np.abs(norm * up - before).max() < 0.02 * np.abs(before).max()
    assert not np.allclose(norm, original["model.layers.1.post_attention_layernorm.weight"].numpy(), rtol=0.1)
    assert np.allclose(
        dequantised(plain.path)["blk.1.ffn_norm.weight"],
        original["model.layers.1.post_attention_layernorm.weight"].numpy(),
    )

    made = {file: file.stat().st_mtime_ns for file in output.iterdir()}
    said: list[str] = []
    again = prepare(model, output, plain=True, on_step=said.append, **settings)
    assert [artifact.reused for artifact in again] == [True, True]
    assert [artifact.sha256 for artifact in again] == [smooth.sha256, plain.sha256]
    assert {file: file.stat().st_mtime_ns for file in output.iterdir()} == made
    assert len(said) == 2
    assert all("is there already" in step for step in said)

    (elsewhere,) = prepare(model, tmp_path / "other", **settings)
    assert elsewhere.sha256 == smooth.sha256, "the same seed and the same inputs give the same bytes"


def test_another_alpha_replaces_the_smoothed_file_alone(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path
) -> None:
    model = make_checkpoint(tied=True, dtype=torch.float16)
    settings: dict[str, Any] = {**SMALL, "llama_cpp": llama_cpp, "calib": prose, "plain": True}
    first = prepare(model, tmp_path / "out", **settings)
    second = prepare(model, tmp_path / "out", alpha=0.8, **settings)
    assert [artifact.reused for artifact in second] == [False, True]
    assert second[0].path == first[0].path
    assert second[0].sha256 != first[0].sha256
    assert second[0].sha256 == sha256_of(second[0].path)


def test_plain_alone_needs_no_fold_and_no_text(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, llama_cpp: Path
) -> None:
    (plain,) = prepare(make_checkpoint(), tmp_path / "out", llama_cpp=llama_cpp, smooth=False, plain=True)
    assert plain.path.name == "tiny-plain-q8_0.gguf"
    assert plain.manifest.recipe.smoothing is None


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"alpha": 1.1}, r"alpha is 1\.1"),
        ({"alpha": -0.1}, r"alpha is -0\.1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"n_samples": 0}, "at least 1 window"),
        ({"seq_len": 7}, "at least 8"),
        ({"seq_len": 257}, "tiny takes at most 256"),
        ({"seed": -1}, "seed -1"),
        ({"smooth": False}, "nothing to make"),
        ({"n_samples": 10_000}, r"prose\.txt.*tokens"),
    ],
)
def test_wrong_settings_are_told_and_leave_nothing(
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    prose: Path,
    llama_cpp: Path,
    setting: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(BadInput, match=says):
        prepare(make_checkpoint(), tmp_path / "out", **{**SMALL, "llama_cpp": llama_cpp, "calib": prose, **setting})
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("n_layers", [3, 10**12, "2", None])
def test_a_number_of_layers_that_the_weights_belie(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path, n_layers: object
) -> None:
    model = make_checkpoint()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "num_hidden_layers": n_layers}))
    with pytest.raises(BadInput, match=r"num_hidden_layers|model\.layers\.2"):
        prepare(model, tmp_path / "out", llama_cpp=llama_cpp, calib=prose, **SMALL)


def test_an_architecture_that_is_not_in_the_table(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, llama_cpp: Path
) -> None:
    model = make_checkpoint()
    (model / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    with pytest.raises(BadInput, match="GPT2LMHeadModel"):
        prepare(model, tmp_path / "out", llama_cpp=llama_cpp)


def test_a_model_that_is_not_the_same_function_is_not_written(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path
) -> None:
    """The head's weights are so large that rounding shows in the logits; nothing is written, and it is said."""
    model = make_checkpoint()
    tensors = load_file(model / "model.safetensors")
    tensors["lm_head.weight"] *= 1e4
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SmoothdroidError, match="not the same function"):
        prepare(model, tmp_path / "out", llama_cpp=llama_cpp, calib=prose, **SMALL)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("at", ["calibrating", "comparing", "converting"])
def test_an_interruption_leaves_what_was_there(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path, at: str
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("kept")

    def interrupt(step: str) -> None:
        if step.startswith(at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(make_checkpoint(), output, llama_cpp=llama_cpp, calib=prose, on_step=interrupt, **SMALL)
    assert [file.name for file in output.iterdir()] == ["mine.txt"]


def test_a_failed_conversion_leaves_its_log_alone(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    llama_cpp = tmp_path / "llama"
    llama_cpp.mkdir()
    (llama_cpp / "convert_hf_to_gguf.py").write_text("raise SystemExit('no such thing')")
    output = tmp_path / "out"
    with pytest.raises(SmoothdroidError, match="no such thing"):
        prepare(make_checkpoint(), output, llama_cpp=llama_cpp, smooth=False, plain=True)
    assert [file.name for file in output.iterdir()] == ["tiny-plain-q8_0.convert.log"]
