from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from device.errors import BadInput
from host.model.checkpoint import open_checkpoint
from host.model.folds import Fold, expand, folds_of
from host.model.staging import folded_bytes, stage, stage_folded

MakeCheckpoint = Callable[..., Path]
FOLD = expand(folds_of("LlamaForCausalLM"), 2)[1]


def test_no_code_and_no_call_for_code_is_staged(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder = make_checkpoint()
    (folder / "evil.py").write_text("raise SystemExit")
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    checkpoint = open_checkpoint(folder)
    for staged in (stage(checkpoint, tmp_path / "plain"), stage_folded(checkpoint, tmp_path / "folded", {})):
        assert sorted(file.name for file in staged.iterdir()) == [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        assert "evil" not in "".join(file.read_text() for file in staged.glob("*.json"))
    assert "evil" in (folder / "config.json").read_text(), "the user's own checkpoint is left alone"


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "200KB"}])
def test_folded_tensors_are_float32_and_the_rest_as_it_was(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, options: dict[str, Any]
) -> None:
    checkpoint = open_checkpoint(make_checkpoint(dtype=torch.bfloat16, **options))
    scales = torch.linspace(0.5, 3, 64)
    staged = stage_folded(checkpoint, tmp_path / "folded", {FOLD: scales})
    before, after = read(checkpoint.path), read(staged)
    assert before.keys() == after.keys()
    for name in before:
        if name == f"{FOLD.norm}.weight":
            assert torch.equal(after[name], before[name].float() / scales)
        elif name.removesuffix(".weight") in FOLD.linears:
            assert torch.equal(after[name], before[name].float() * scales)
        else:
            assert after[name].dtype == torch.bfloat16
            assert torch.equal(after[name], before[name])
    reopened = open_checkpoint(staged)
    assert sum(tensor.n_bytes for tensor in reopened.tensors.values()) == folded_bytes(checkpoint, (FOLD,))


def test_a_fold_of_tensors_that_are_not_there_is_refused(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint()
    tensors = read(folder)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(BadInput, match=r"model.layers.0.mlp.up_proj.weight, and it is not there \(1 of 3"):
        folded_bytes(open_checkpoint(folder), (FOLD, Fold(FOLD.norm, FOLD.linears)))


def read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
