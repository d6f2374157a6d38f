"""What llama.cpp requires, for GGUFs that it loads (tests/host/model/test_odd_checkpoints.py) and for these."""

from __future__ import annotations

from contextlib import nullcontext as does_not_raise
from typing import Any

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.convert.gguf_layout import TensorShape, require_layout


def described(architecture: str = "llama", **values: int) -> dict[str, Any]:
    """Metadata of 2 layers, 64 channels, 4 heads that share 2 key heads, 10 tokens."""
    sizes = {"block_count": 2, "embedding_length": 64, "feed_forward_length": 96, "attention.head_count": 4}
    sizes = {**sizes, "attention.head_count_kv": 2, **{key.replace("__", "."): value for key, value in values.items()}}
    return {
        "general.architecture": architecture,
        **{f"{architecture}.{key}": value for key, value in sizes.items()},
        "tokenizer.ggml.tokens": ["t"] * 10,
        "tokenizer.ggml.scores": [0.0] * 10,
        "tokenizer.ggml.token_type": [1] * 10,
    }


def shapes(**changes: TensorShape | None) -> dict[str, TensorShape]:
    """The tensors of such a Llama; `blk_0_attn_q=None` takes one out."""
    layer: dict[str, TensorShape] = {
        "attn_norm": (64,),
        "attn_q": (64, 64),
        "attn_k": (32, 64),
        "attn_v": (32, 64),
        "attn_output": (64, 64),
        "ffn_norm": (64,),
        "ffn_gate": (96, 64),
        "ffn_up": (96, 64),
        "ffn_down": (64, 96),
    }
    tensors: dict[str, TensorShape] = {"token_embd.weight": (10, 64), "output_norm.weight": (64,)}
    tensors |= {f"blk.{number}.{name}.weight": shape for number in range(2) for name, shape in layer.items()}
    for key, shape in changes.items():
        name = key.replace("__", ".")
        if shape is None:
            del tensors[name]
        else:
            tensors[name] = shape
    return tensors


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {}),
        ("qwen2", {"blk__0__attn_q__bias": (64,)}),
        ("llama", {"output__weight": (10, 64), "rope_freqs__weight": (8,), "blk__1__ffn_down__bias": (64,)}),
        ("gemma", {}),
        ("bloom", {"blk__0__attn_q__weight": None}),  # not in the table: the converter and llama.cpp look at it
    ],
)
def test_what_llama_cpp_loads_is_accepted(architecture: str, changes: dict[str, TensorShape | None]) -> None:
    with does_not_raise():
        require_layout("tiny", described(architecture), shapes(**changes))


@pytest.mark.parametrize(
    ("architecture", "changes", "says"),
    [
        ("llama", {"token_embd__weight": (12, 64)}, r"10 tokens, token_embd\.weight 12 rows"),
        ("llama", {"output__weight": (9, 64)}, r"token_embd\.weight 10 rows, output\.weight 9 rows"),
        ("bloom", {"token_embd__weight": (12, 64)}, "10 tokens"),
        ("llama", {"token_embd__weight": (10, 32)}, r"shape \[10, 32\], expected \[10, 64\]"),
        ("llama", {"token_embd__weight": None}, r"token_embd\.weight is missing"),
        ("llama", {"blk__1__attn_norm__weight": None}, r"blk\.1\.attn_norm\.weight is missing"),
        (
            "llama",
            {"blk__1__attn_k__weight": (64, 64)},
            r"attn_k\.weight has the shape \[64, 64\], expected \[32, 64\]",
        ),
        ("llama", {"blk__0__ffn_down__weight": (64, 97)}, r"expected \[64, 96\]"),
        (
            "llama",
            {"blk__2__attn_norm__weight": (64,)},
            r"blk\.2\.attn_norm\.weight has no place in llama\.cpp's llama",
        ),
        ("llama", {"blk__0__attn_q_norm__weight": (16,)}, r"attn_q_norm\.weight has no place"),
        ("llama", {"blk__0__attn_q__bias": (65,)}, r"attn_q\.bias has the shape \[65\], expected \[64\]"),
        ("gemma", {"output__weight": (10, 64)}, r"output\.weight has no place in llama\.cpp's gemma"),
        ("gemma", {"blk__0__attn_output__bias": (64,)}, r"attn_output\.bias has no place"),
        ("qwen3", {}, r"attn_q_norm\.weight is missing"),
        ("gemma2", {}, r"post_attention_norm\.weight is missing"),
        ("phi3", {}, r"attn_qkv\.weight is missing"),
    ],
)
def test_what_llama_cpp_would_not_load_is_named(
    architecture: str, changes: dict[str, TensorShape | None], says: str
) -> None:
    with pytest.raises(BadInput, match=rf"tiny: llama\.cpp would not load the GGUF: .*{says}"):
        require_layout("tiny", described(architecture), shapes(**changes))


def test_experts_and_heads_of_their_own_width_are_counted() -> None:
    metadata = described(expert_count=4, attention__key_length=24, attention__value_length=24)
    tensors = shapes()
    for number in range(2):
        layer = f"blk.{number}."
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            del tensors[f"{layer}{name}.weight"]
        tensors |= {f"{layer}ffn_gate_inp.weight": (4, 64), f"{layer}ffn_down_exps.weight": (4, 64, 96)}
        tensors |= {f"{layer}ffn_gate_exps.weight": (4, 96, 64), f"{layer}ffn_up_exps.weight": (4, 96, 64)}
        tensors |= {f"{layer}attn_q.weight": (96, 64), f"{layer}attn_output.weight": (64, 96)}
        tensors |= {f"{layer}attn_k.weight": (48, 64), f"{layer}attn_v.weight": (48, 64)}
    require_layout("tiny", metadata, tensors)
    with pytest.raises(BadInput, match=r"ffn_gate_exps\.weight has the shape"):
        require_layout("tiny", {**metadata, "llama.expert_count": 3}, {**tensors, "blk.0.ffn_gate_inp.weight": (3, 64)})


def test_lists_of_different_length() -> None:
    metadata = {**described(), "tokenizer.ggml.scores": [0.0] * 9}
    with pytest.raises(BadInput, match=r"10 tokens and 9 entries in tokenizer\.ggml\.scores"):
        require_layout("tiny", metadata, shapes())


def test_sizes_by_layer_are_left_to_llama_cpp() -> None:
    by_layer = {**described(), "llama.feed_forward_length": [96, 96]}
    with does_not_raise():
        require_layout("tiny", by_layer, shapes(blk__0__ffn_up__weight=None))
