from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.saving import save_changed, unties
from smoothdroid.host.model.checkpoint.staging import changed_bytes
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange

MakeCheckpoint = Callable[..., Path]
UP, NORM = "model.layers.1.mlp.up_proj.weight", "model.layers.1.post_attention_layernorm.weight"
SCALES = torch.linspace(0.5, 3, 64)
CHANGES = {UP: TensorChange(columns=SCALES), NORM: TensorChange(rows=SCALES)}
UNTIED = {"lm_head.weight": TensorChange(columns=SCALES), "model.norm.weight": TensorChange(rows=SCALES)}


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "200KB"}])
def test_changed_tensors_are_saved_as_float32_and_the_rest_as_it_was(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, options: dict[str, Any]
) -> None:
    checkpoint = open_checkpoint(make_checkpoint(dtype=torch.bfloat16, **options))
    saved = save_changed(checkpoint, tmp_path / "saved", CHANGES)
    before, after = read(checkpoint.path), read(saved)
    assert before.keys() == after.keys()
    for name in before:
        if name in CHANGES:
            assert torch.equal(after[name], CHANGES[name].apply(before[name]))
            assert after[name].dtype == torch.float32
        else:
            assert after[name].dtype == torch.bfloat16
            assert torch.equal(after[name], before[name])
    reopened = open_checkpoint(saved)
    assert sum(tensor.n_bytes for tensor in reopened.tensors.values()) <= changed_bytes(checkpoint)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "200KB"}])
def test_what_is_saved_is_what_transformers_loads(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, options: dict[str, Any]
) -> None:
    """The last norm folded into a head that was tied: the head has a tensor of its own, and the logits stay."""
    folder = make_checkpoint(tied=True, **options)
    checkpoint = open_checkpoint(folder)
    assert unties(checkpoint, UNTIED)
    assert not unties(checkpoint, CHANGES)
    saved = save_changed(checkpoint, tmp_path / "saved", UNTIED)
    assert json.loads((saved / "config.json").read_text())["tie_word_embeddings"] is False
    open_checkpoint(saved)
    library: Any = transformers
    windows = torch.randint(3, 200, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, after = (
            library.AutoModelForCausalLM.from_pretrained(each, dtype=torch.float32)(input_ids=windows).logits
            for each in (folder, saved)
        )
    assert torch.allclose(before, after, atol=1e-4)


def read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
