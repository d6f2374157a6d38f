from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from device.errors import BadInput
from host.model.network import load_model, load_tokenizer, logits

MakeCheckpoint = Callable[..., Path]


def test_logits_in_float32_window_by_window(make_checkpoint: MakeCheckpoint) -> None:
    model = load_model(make_checkpoint(dtype=torch.float16))
    windows = torch.randint(3, 200, (3, 10), generator=torch.Generator().manual_seed(0))
    found = logits(model, windows)
    assert found.dtype == torch.float32
    assert found.shape[:2] == (3, 10)
    assert torch.allclose(found, model(input_ids=windows).logits, atol=1e-4)


def test_missing_weights_are_not_made_up(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint()
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"tiny: 1 of the model's tensors.*model.layers.1.mlp.up_proj.weight"):
        load_model(folder)


def test_what_transformers_cannot_load_is_bad_input(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 128}))
    with pytest.raises(BadInput, match="tiny: transformers cannot load the model"):
        load_model(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="tiny: transformers cannot load its tokenizer"):
        load_tokenizer(folder)
