from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.prepare import PrepareSettings, prepare
from smoothdroid.host.model.provenance.inspect import inspect, lines
from tests.host.tiny_gguf import write_llama

MakeCheckpoint = Callable[..., Path]


def test_a_smoothed_file_tells_its_story_without_its_manifest(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path
) -> None:
    settings = PrepareSettings(n_samples=4, seq_len=32, calib=prose, plain=True, alpha="auto")
    smooth, plain = prepare(make_checkpoint(), tmp_path / "out", settings, llama_cpp=llama_cpp)
    smooth.manifest_path.unlink()
    found = inspect(smooth.path)
    assert found.provenance is not None
    assert found.provenance.recipe == smooth.manifest.recipe
    assert found.n_parameters == smooth.manifest.n_parameters
    told = dict(lines(found))
    assert told["smoothing"] == "alpha auto, for q8_0 on ggml; folds v-o, up-down, norm"
    assert told["calibrated on"].startswith("4 windows of 32 tokens of prose.txt (sha256 ")
    assert "plain 0.0" in told["held-out KLD"]
    assert told["proof"].startswith("float32 logits differ by at most ")
    assert set(told) >= {"alpha, norm", "alpha, up-down", "alpha, v-o", "  model.safetensors"}
    assert dict(lines(inspect(plain.path)))["smoothing"] == "none: plain"


def test_a_file_of_another_tool(tmp_path: Path) -> None:
    told = dict(lines(inspect(write_llama(tmp_path / "theirs.gguf"))))
    assert told["made by"] == "another tool: it does not tell how"


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
