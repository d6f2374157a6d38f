from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.artifact import Artifact, inspect
from smoothdroid.host.gguf.memory_shape import Shape
from tests.host.fakes import write_gguf


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.q8_0.gguf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("model") / "whole.gguf")


def test_tells_what_a_model_is(path: Path) -> None:
    steps: list[str] = []
    assert inspect(path, on_step=steps.append) == Artifact(
        path=path,
        name="tiny.q8_0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        architecture="llama",
        parameters=4 * 32 + 32,
        bits_per_weight=8 * (4 * 32 * 4 + 32 * 2) / (4 * 32 + 32),
        decode_bytes=576,
        manifest=None,
        shape=Shape(
            weights_bytes=4 * 32 * 4 + 32 * 2, layers=0, keys=0, values=0, hidden=0, multiplied=0, multiplied_bytes=0
        ),
    )
    assert steps == ["hashing tiny.q8_0.gguf"]


def test_brings_the_manifest_beside_it(path: Path) -> None:
    path.with_name(path.name + ".json").write_text('{"alpha": 0.5}')
    assert inspect(path).manifest == {"alpha": 0.5}


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[1]", b"null"])
def test_a_broken_manifest_is_named(path: Path, content: bytes) -> None:
    manifest = path.with_name(path.name + ".json")
    manifest.write_bytes(content)
    with pytest.raises(BadInput, match=f"{manifest}, beside the model, is no"):
        inspect(path)


@pytest.mark.fault(
    "a model's file is cut short",
    transport="workstation",
    outcome="it is refused before anything is sent",
)
def test_a_gguf_cut_anywhere_is_bad_input(path: Path) -> None:
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(BadInput, match=r"cut short|no GGUF"):
            inspect(path)


@given(st.data())
def test_a_gguf_with_a_wrong_byte_is_read_or_bad_input(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    broken = whole.with_name("broken.gguf")
    broken.write_bytes(content)
    with suppress(BadInput):
        assert inspect(broken).parameters > 0


def test_what_is_no_model_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no file .*nosuch\.gguf"):
        inspect(tmp_path / "nosuch.gguf")
    with pytest.raises(BadInput, match=f"is a folder.*smoothdroid prepare {tmp_path}"):
        inspect(tmp_path)
    for content in (b"", b"GG", b"PK\x03\x04 a zip", b"\x93NUMPY"):
        (tmp_path / "other.gguf").write_bytes(content)
        with pytest.raises(BadInput, match="no GGUF file"):
            inspect(tmp_path / "other.gguf")


def test_a_gguf_without_weights_holds_no_model(tmp_path: Path) -> None:
    for name, tensors in (("vocabulary", {}), ("hollow", {"w": np.zeros((0, 32), np.float32)})):
        writer = GGUFWriter(tmp_path / name, "llama")
        for tensor, values in tensors.items():
            writer.add_tensor(tensor, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(BadInput, match="holds no model"):
            inspect(tmp_path / name)
