from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.llamacpp.licences import licences
from smoothdroid.host.llamacpp.source import Source, pinned
from smoothdroid.host.llamacpp.variants import find
from tests.host.bundle.builds import build_of

OLD = find("arm64-v8a", "v8.0")


def test_the_pinned_sources_and_zigs_libraries(llama_cpp: Path, tmp_path: Path) -> None:
    """What the texts say, so that a file that moved or means something else is noticed."""
    found = licences(pinned(), [build_of(OLD, tmp_path, toolchain="zig 0.17.1, toolchain 0123")])
    says = {
        "llama.cpp/LICENSE": "MIT License",
        "llama.cpp/AUTHORS": "Georgi Gerganov",
        "llama.cpp/licenses/LICENSE-jsonhpp": "Niels Lohmann",
        "llama.cpp/vendor/cpp-httplib/LICENSE": "yhirose",
        "zig/libc/musl/COPYRIGHT": "Rich Felker",
        "zig/libcxx/LICENSE.TXT": "Apache License",
        "zig/LICENSE": "Zig contributors",
    }
    for name, text in says.items():
        assert text in found[name].read_text(), name
    assert all(path.is_file() for path in found.values())


def test_another_compiler_brings_no_zig(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("MIT")
    found = licences(Source(tmp_path, "x", "y"), [build_of(OLD, tmp_path, toolchain="NDK 27.0.1, toolchain 0123")])
    assert found == {"llama.cpp/LICENSE": tmp_path / "LICENSE"}


def test_a_text_that_is_missing_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_of(OLD, tmp_path / "cache", toolchain="zig 0.17.1, toolchain 0123")
    tree = Source(tmp_path, "x", "y")
    with pytest.raises(BadInput, match="has no LICENSE, which must go with the binaries"):
        licences(tree, [built])
    (tmp_path / "LICENSE").write_text("MIT")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"which is not installed: `pip install 'smoothdroid\[build\]'`"):
        licences(tree, [built])
