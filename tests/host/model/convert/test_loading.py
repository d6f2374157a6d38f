from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.model.convert.loading import require_loads
from tests.host.tiny_gguf import write_llama


def test_a_sound_model_leaves_nothing(tmp_path: Path, llama_bench: Path) -> None:
    require_loads(write_llama(tmp_path / "tiny.gguf"), tmp_path / "log", llama_bench)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.gguf"]


@pytest.mark.fault(
    "a GGUF that llama.cpp does not load",
    transport="workstation",
    outcome="not published; llama.cpp's own first words, and where its whole log is",
)
def test_llama_cpps_own_words_are_shown(tmp_path: Path, llama_bench: Path) -> None:
    gguf = write_llama(tmp_path / "tiny.gguf")
    gguf.write_bytes(gguf.read_bytes()[:-1000])
    with pytest.raises(SmoothdroidError, match=r"tiny\.gguf: llama\.cpp does not load it: .*bounds.* log is .*log"):
        require_loads(gguf, tmp_path / "log", llama_bench)
    assert "bounds" in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'fine so far'; kill -9 $$", "it was killed, as happens where the memory is too small"),
        ("echo '1.2.3 E model.cpp:1: GGML_ASSERT(n > 0) failed' >&2; exit 134", r"GGML_ASSERT\(n > 0\) failed"),
        ("echo 'llama_model_load: error loading model: wrong shape'; echo 'error: late'; exit 1", "it: wrong shape"),
        ("echo last words; exit 3", r"last words \(status 3\)"),
        ("exit 3", r"it printed nothing \(status 3\)"),
    ],
)
def test_reasons(tmp_path: Path, script: str, says: str) -> None:
    tool = tmp_path / "tool"
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(0o755)
    with pytest.raises(SmoothdroidError, match=says):
        require_loads(tmp_path / "tiny.gguf", tmp_path / "log", tool)
