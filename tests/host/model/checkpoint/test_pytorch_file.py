"""Checkpoints as PyTorch's own files: tensors only, and nothing in them is run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.saving import save_changed
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.prepare import prepare
from smoothdroid.host.model.prepare_settings import PrepareSettings
from tests.host.model.tiny_models import write_tiny_model

MakeCheckpoint = Callable[..., Path]


def as_bin(folder: Path, shards: int = 1, **save_options: Any) -> Path:
    """The checkpoint with pytorch_model*.bin in place of its safetensors."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin", **save_options)
        return folder
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        torch.save({name: tensors[name] for name in names[number::shards]}, folder / file)
        weight_map |= dict.fromkeys(names[number::shards], file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("original") / "original", "LlamaForCausalLM", dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def smoothed(original: Path, prose: Path, llama_cpp: Path) -> dict[str, bytes]:
    return smoothed_tensors(original, original.parent / "out", prose, llama_cpp)


def smoothed_tensors(model: Path, output: Path, prose: Path, llama_cpp: Path) -> dict[str, bytes]:
    settings = PrepareSettings(n_samples=4, seq_len=32, calib=prose)
    (made,) = prepare(model, output, settings, llama_cpp=llama_cpp)
    return {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(made.path).tensors}


@pytest.mark.parametrize("shards", [1, 2])
def test_it_is_the_same_checkpoint(
    original: Path, smoothed: dict[str, bytes], tmp_path: Path, prose: Path, llama_cpp: Path, shards: int
) -> None:
    safetensors = open_checkpoint(original)
    folder = tmp_path / "tiny"
    shutil.copytree(original, folder)
    checkpoint = open_checkpoint(as_bin(folder, shards))
    assert checkpoint.tensors == safetensors.tensors
    for name in safetensors.tensors:
        assert torch.equal(Weights(checkpoint).read(name, None), Weights(safetensors).read(name, None))
    reopened = open_checkpoint(save_changed(checkpoint, tmp_path / "saved", {}))
    assert reopened.tensors == safetensors.tensors
    assert {file.suffix for file in reopened.weight_files} == {".safetensors"}
    assert smoothed_tensors(folder, tmp_path / "out", prose, llama_cpp) == smoothed


@dataclass
class Code:
    """What calls os.mkdir when it is unpickled."""

    path: str

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.fault(
    "a .bin file of weights holds code",
    transport="workstation",
    outcome="not run; refused: give the checkpoint as safetensors",
)
def test_code_in_it_is_not_run(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder, trace = make_checkpoint(), tmp_path / "was run"
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": torch.ones(2), "x": Code(str(trace))}, folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"pytorch_model\.bin: holds more than tensors"):
        open_checkpoint(folder)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[torch.ones(2)], {"step": 3, "w": torch.ones(2)}])
def test_what_is_no_table_of_tensors(make_checkpoint: MakeCheckpoint, content: object) -> None:
    folder = make_checkpoint()
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match="not a table of tensors"):
        open_checkpoint(folder)


def test_types_and_formats_that_are_not_read(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint("old")
    with pytest.raises(BadInput, match=r"torch's format from before 1\.6"):
        open_checkpoint(as_bin(folder, _use_new_zipfile_serialization=False))
    torch.save({"w": torch.ones(2, dtype=torch.int8)}, folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"w is stored as torch\.int8"):
        open_checkpoint(folder)
