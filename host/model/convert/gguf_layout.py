"""The layout that llama.cpp requires of a GGUF, checked before the weights are written.

It is that of `load_arch_tensors` of each architecture in llama.cpp's src/models. Needs neither torch nor the gguf
package, as it runs in the converter's process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.smoothquant.architectures import ModelArchitecture, gguf_architectures

TensorShape = tuple[int, ...]
TensorShapes = Mapping[str, TensorShape]
"""The shape of each tensor by name, rows first."""

TOKENS, SCORES, TYPES = (f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type"))


# Optional tensors that belong to no layer.
EXTRA = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def require_layout(name: str, metadata: Mapping[str, Any], shapes: TensorShapes) -> None:
    """Raise BadInput where llama.cpp would not load a GGUF of this metadata and these tensors.

    `name` names the model. Of an architecture that is not in the table, only vocabulary and embedding are looked at.
    """
    wrong = _vocabulary(metadata, shapes)
    architecture = metadata.get("general.architecture")
    if not wrong and isinstance(architecture, str) and architecture in gguf_architectures():
        wrong = _tensors(architecture, metadata, shapes)
    if wrong:
        raise BadInput(
            f"{name}: llama.cpp would not load the GGUF: {wrong}. Vocabulary, config.json and weights do not belong "
            "together; fetch the checkpoint again, or ask who made it."
        )


def _vocabulary(metadata: Mapping[str, Any], shapes: TensorShapes) -> str | None:
    """Return the fault in the number of tokens, or None."""
    tokens = metadata.get(TOKENS)
    if not isinstance(tokens, Sequence):
        return None  # a model without a vocabulary
    for key in (SCORES, TYPES):
        listed = metadata.get(key)
        if isinstance(listed, Sequence) and len(listed) != len(tokens):
            return f"it has {len(tokens)} tokens and {len(listed)} entries in {key}"
    if "token_embd.weight" not in shapes:
        return None
    rows = {tensor: shapes[tensor][0] for tensor in ("token_embd.weight", "output.weight") if tensor in shapes}
    if all(count == len(tokens) for count in rows.values()):
        return None
    counted = ", ".join(f"{tensor} {count} rows" for tensor, count in rows.items())
    return f"the vocabulary has {len(tokens)} tokens, {counted}"


def _tensors(architecture: str, metadata: Mapping[str, Any], shapes: TensorShapes) -> str | None:
    """Return the fault in the tensors of an architecture in the table, or None."""
    row, sizes = gguf_architectures()[architecture], _Sizes.of(architecture, metadata)
    if sizes is None:
        return None
    required = _required(row, sizes)
    own_head = row.own_head and (not row.tied_head or "output.weight" in shapes)
    for tensor in ("token_embd.weight", *(["output.weight"] if own_head else [])):
        required[tensor] = (*shapes.get(tensor, (0,))[:1], sizes.width)
    for tensor, expected in required.items():
        shape = shapes.get(tensor)
        if shape is None:
            return f"{tensor} is missing"
        if shape != expected:
            return f"{tensor} has the shape {list(shape)}, expected {list(expected)}"
    for tensor in sorted(shapes.keys() - required.keys() - set(EXTRA)):
        part = tensor.split(".")[2 if tensor.startswith("blk.") else 0]
        if part in row.optional:
            continue
        weight = tensor.removesuffix(".bias") + ".weight"
        if not (tensor.endswith(".bias") and part in row.biases and weight in required):
            return f"{tensor} has no place in llama.cpp's {architecture}"
        if shapes[tensor] != required[weight][:1]:
            return f"{tensor} has the shape {list(shapes[tensor])}, expected {list(required[weight][:1])}"
    return None


@dataclass(frozen=True)
class _Sizes:
    layers: int
    width: int
    inner: int
    expert_inner: int
    heads: int
    kv_heads: int
    key: int
    value: int
    experts: int

    @classmethod
    def of(cls, architecture: str, metadata: Mapping[str, Any]) -> _Sizes | None:
        """Return the sizes, or None where they are not one number each for all layers."""
        heads, width = (metadata.get(f"{architecture}.{key}") for key in ("attention.head_count", "embedding_length"))
        head = width // heads if type(heads) is int and type(width) is int and heads > 0 else None
        inner = metadata.get(f"{architecture}.feed_forward_length")
        sizes = [
            metadata.get(f"{architecture}.{key}", otherwise)
            for key, otherwise in (
                ("block_count", None),
                ("embedding_length", None),
                ("feed_forward_length", None),
                ("expert_feed_forward_length", inner),
                ("attention.head_count", None),
                ("attention.head_count_kv", heads),
                ("attention.key_length", head),
                ("attention.value_length", head),
                ("expert_count", 0),
            )
        ]
        return cls(*sizes) if all(type(number) is int for number in sizes) else None


def _required(row: ModelArchitecture, sizes: _Sizes) -> dict[str, TensorShape]:
    """Return the shape of each required tensor by name; the rows of the embedding are checked elsewhere."""
    required: dict[str, TensorShape] = {"output_norm.weight": (sizes.width,)}
    for layer in range(sizes.layers):
        parts = {**_attention(row, sizes), **_feed_forward(row, sizes)}
        required.update({f"blk.{layer}.{part}.weight": shape for part, shape in parts.items()})
    return required


def _attention(row: ModelArchitecture, sizes: _Sizes) -> dict[str, TensorShape]:
    q, k, v = sizes.heads * sizes.key, sizes.kv_heads * sizes.key, sizes.kv_heads * sizes.value
    parts: dict[str, TensorShape] = {"attn_output": (sizes.width, sizes.heads * sizes.value)}
    if row.attention_norm:
        parts["attn_norm"] = (sizes.width,)
    if row.fused_qkv:
        parts["attn_qkv"] = (q + k + v, sizes.width)
    else:
        parts.update({"attn_q": (q, sizes.width), "attn_k": (k, sizes.width), "attn_v": (v, sizes.width)})
    if row.head_norms == "each head":
        parts.update({"attn_q_norm": (sizes.key,), "attn_k_norm": (sizes.key,)})
    if row.head_norms == "all heads":
        parts.update({"attn_q_norm": (q,), "attn_k_norm": (k,)})
    if row.post_norms:
        parts["post_attention_norm"] = (sizes.width,)
    return parts


def _feed_forward(row: ModelArchitecture, sizes: _Sizes) -> dict[str, TensorShape]:
    up, down = (sizes.inner, sizes.width), (sizes.width, sizes.inner)
    parts: dict[str, TensorShape] = {}
    if row.ffn_norm not in (None, row.attention_norm):
        parts[row.gguf_ffn_norm] = (sizes.width,)
    if row.up is None:
        parts.update({"ffn_up": up, "ffn_down": down})
    elif row.fused_gate:
        parts.update({"ffn_up": (2 * sizes.inner, sizes.width), "ffn_down": down})
    elif sizes.experts:
        parts["ffn_gate_inp"] = (sizes.experts, sizes.width)
        parts.update({f"ffn_{part}_exps": (sizes.experts, sizes.expert_inner, sizes.width) for part in ("gate", "up")})
        parts["ffn_down_exps"] = (sizes.experts, sizes.width, sizes.expert_inner)
    else:
        parts.update({"ffn_gate": up, "ffn_up": up, "ffn_down": down})
    if row.post_norms:
        parts["post_ffw_norm"] = (sizes.width,)
    return parts
