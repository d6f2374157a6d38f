from __future__ import annotations

import pytest
import torch

from smoothdroid.host.model.checkpoint.gguf_checkpoint import checkpoint_name, shortest, unpermute


def permute(weight: torch.Tensor, n_heads: int) -> torch.Tensor:
    """LlamaModel.permute of llama.cpp's conversion/llama.py, for equal head counts."""
    halves = weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


@pytest.mark.parametrize("n_heads", [1, 3])
def test_unpermute_undoes_the_converters_permute(n_heads: int) -> None:
    weight = torch.randn(n_heads * 8, 5)
    assert torch.equal(unpermute(permute(weight, n_heads), n_heads), weight)
    assert not torch.equal(permute(weight, n_heads), weight)


def test_names() -> None:
    assert checkpoint_name("blk.12.attn_k.weight") == "model.layers.12.self_attn.k_proj.weight"
    assert checkpoint_name("token_embd.weight") == "model.embed_tokens.weight"
    with pytest.raises(KeyError):
        checkpoint_name("blk.0.ssm_a.weight")


def test_the_shortest_decimal_of_a_float32() -> None:
    assert shortest(9.999999747378752e-06) == 1e-5
