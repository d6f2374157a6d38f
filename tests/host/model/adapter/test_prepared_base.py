from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.adapter.prepared_base import read_changes
from smoothdroid.host.model.checkpoint.description import KEY, description
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.smoothquant.rotation import Rotation
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange, save_changes
from tests.host.model.tiny_models import write_tiny_model

UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return description(open_checkpoint(write_tiny_model(tmp_path_factory.mktemp("m") / "tiny", "LlamaForCausalLM")))


def test_a_checkpoint_comes_back_from_its_description(described: dict[str, str], tmp_path: Path) -> None:
    scales = torch.rand(64)
    save_changes({UP: TensorChange(columns=scales)}, tmp_path / "a.changes", described)
    checkpoint, changes = read_changes(tmp_path / "a.changes")
    assert checkpoint.name == "tiny"
    assert checkpoint.architecture == "LlamaForCausalLM"
    assert checkpoint.config["hidden_size"] == 64
    assert checkpoint.tensors[UP].shape == (96, 64)
    columns = changes[UP].columns
    assert columns is not None
    assert torch.equal(columns, scales)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.layers.9.mlp.up_proj.weight", TensorChange(columns=torch.ones(64))),
        (UP, TensorChange(columns=torch.ones(63))),
        (UP, TensorChange(gain=torch.ones(96))),
        (UP, TensorChange(rows=torch.ones(97))),
        (UP, TensorChange(rotated_axis="columns", rotation=Rotation(1 << 40, 0))),
        (UP, TensorChange(rotated_axis="rows", rotation=Rotation(64, 0))),
    ],
)
def test_changes_that_do_not_fit(described: dict[str, str], tmp_path: Path, name: str, change: TensorChange) -> None:
    save_changes({name: change}, tmp_path / "a.changes", described)
    with pytest.raises(BadInput, match=r"does not have\. Prepare|does not fit the tensor's shape"):
        read_changes(tmp_path / "a.changes")


@pytest.mark.parametrize(
    ("changes", "checkpoint", "message"),
    [
        ("{", None, "it holds no changes of tensors"),
        ('{"a": {}}', None, "it holds no changes of tensors"),
        ('["a"]', None, "it holds no changes of tensors"),
        ('{"a": {"stored": {"rows": "b"}}}', None, "it holds no changes of tensors"),
        ('{"a": {"stored": {}, "surprise": 1}}', None, "it holds no changes of tensors"),
        ('{"a": {"stored": {}, "rotation": 5}}', None, "it holds no changes of tensors"),
        ("{}", "{}", "it does not describe the model it belongs to"),
        ("{}", json.dumps({"name": 1}), "it does not describe the model it belongs to"),
    ],
)
def test_files_that_are_refused(
    described: dict[str, str], tmp_path: Path, changes: str, checkpoint: str | None, message: str
) -> None:
    metadata = {KEY: checkpoint or described[KEY], "changes": changes}
    save_file({"x": torch.ones(1)}, tmp_path / "a.changes", metadata=metadata)
    with pytest.raises(BadInput, match=message):
        read_changes(tmp_path / "a.changes")
