from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint import weights as module
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange

MakeCheckpoint = Callable[..., Path]
UP = "model.layers.1.mlp.up_proj.weight"


def test_reads_across_shards(make_checkpoint: MakeCheckpoint) -> None:
    whole = load_file(make_checkpoint("whole") / "model.safetensors")
    weights = Weights(open_checkpoint(make_checkpoint("sharded", max_shard_size="200KB")))
    for name, tensor in whole.items():
        assert torch.equal(weights.read(name), tensor)
        assert weights.shape(name) == tuple(tensor.shape)


def test_changed_tensors_are_float32_and_others_what_is_asked_for(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint(dtype=torch.bfloat16))
    scales = torch.linspace(0.5, 3, 64)
    weights = Weights(checkpoint, {UP: TensorChange(columns=scales)})
    stored = load_file(checkpoint.path / "model.safetensors")
    assert torch.equal(weights.read(UP), stored[UP].float() * scales)
    assert weights.read(UP, None).dtype == torch.float32
    assert weights.read(UP, torch.bfloat16).dtype == torch.bfloat16
    other = UP.replace("up", "gate")
    assert torch.equal(weights.read(other), stored[other].float())
    assert weights.read(other, None).dtype == torch.bfloat16


def test_rows_are_those_of_the_whole(make_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Weights(open_checkpoint(make_checkpoint()), {UP: TensorChange(columns=torch.linspace(0.5, 3, 64))})
    for name in (UP, "model.embed_tokens.weight"):
        assert torch.equal(weights.rows(name, slice(3, 9)), weights.read(name)[3:9])
        assert torch.equal(weights.rows(name, torch.tensor([5, 2])), weights.read(name)[[5, 2]])
        monkeypatch.setattr(module, "PART_ROWS", 7)
        assert torch.equal(torch.cat(list(weights.parts(name))), weights.read(name))


def test_a_tied_head_is_the_embedding_until_it_is_changed(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint(tied=True))
    embedding = Weights(checkpoint).read("model.embed_tokens.weight")
    assert torch.equal(Weights(checkpoint).read("lm_head.weight"), embedding)
    changed = Weights(checkpoint, {"lm_head.weight": TensorChange(columns=torch.full((64,), 2.0))})
    assert torch.equal(changed.read("lm_head.weight"), embedding * 2)
    assert torch.equal(changed.read("model.embed_tokens.weight"), embedding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_named(make_checkpoint: MakeCheckpoint, dtype: torch.dtype, value: float) -> None:
    folder = make_checkpoint(dtype=dtype)
    tensors = load_file(folder / "model.safetensors")
    tensors[UP][3, 4:6] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    weights = Weights(open_checkpoint(folder))
    with pytest.raises(BadInput, match=r"tiny: model\.layers\.1\.mlp\.up_proj\.weight holds 2 values of 6144 "):
        weights.read(UP)
    with pytest.raises(BadInput, match=r"up_proj\.weight holds 2 values"):
        weights.rows(UP, slice(0, 8))
    weights.read(UP.replace("up", "gate"))


def test_nothing_at_all_is_finite(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint()
    others = {"mask": torch.ones(3, dtype=torch.bool), "positions": torch.arange(3), "none": torch.zeros(0, 4)}
    save_file(
        {**load_file(folder / "model.safetensors"), **others}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    weights = Weights(open_checkpoint(folder))
    for name in others:
        weights.read(name, None)
