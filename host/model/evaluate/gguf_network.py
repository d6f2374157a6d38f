"""The network of a Llama-like GGUF, run in torch under a kernel's arithmetic as llama.cpp computes it.

One layer is in memory at a time, and all windows go through it before the next is read. Followed are
src/models/llama.cpp, qwen2.cpp and qwen3.cpp of llama.cpp 0c1e57098. A file with a setting or a tensor that is not
followed here is refused: a model run without its rope scaling would give figures too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.arithmetic import Arithmetic
from smoothdroid.host.model.evaluate.gguf_weights import GgufWeights
from smoothdroid.host.model.smoothquant.architectures import ModelArchitecture, gguf_architectures

SETTINGS = (
    *("context_length", "block_count", "embedding_length", "feed_forward_length", "vocab_size"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base"),
)

WHOLE = ("token_embd.weight", "output.weight", "output_norm.weight", "rope_freqs.weight")
LINEARS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
NORMS = ("attn_norm", "ffn_norm")
HEAD_NORMS = ("attn_q_norm", "attn_k_norm")


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a model, from its metadata."""

    architecture: ModelArchitecture
    vocabulary: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head: int
    epsilon: float
    rope_base: float

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The shape [out, in] of each linear of a layer."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        sizes = [(queries, self.hidden), (keys, self.hidden), (keys, self.hidden), (self.hidden, queries)]
        sizes += [(self.intermediate, self.hidden)] * 2 + [(self.hidden, self.intermediate)]
        return dict(zip(LINEARS, sizes, strict=True))

    @property
    def norms(self) -> dict[str, int]:
        """The size of each norm of a layer."""
        of_heads = HEAD_NORMS if self.architecture.head_norms else ()
        return dict.fromkeys(NORMS, self.hidden) | dict.fromkeys(of_heads, self.head)


def sizes_of(weights: GgufWeights) -> ModelSizes:
    """Return the model's sizes. Raises BadInput where the file holds anything that is not followed here."""
    name = weights.text("general.architecture")
    emulated = {gguf: row for gguf, row in gguf_architectures().items() if row.rope}
    if name not in emulated:
        raise BadInput(f"{weights.path}: the architecture {name} is not emulated. There are {', '.join(emulated)}.")
    for setting in weights.settings:
        if setting.startswith(f"{name}.") and setting.removeprefix(f"{name}.") not in SETTINGS:
            raise BadInput(f"{weights.path}: the setting {setting} is not emulated.")
    hidden, heads = weights.whole(f"{name}.embedding_length"), weights.whole(f"{name}.attention.head_count")
    head = weights.whole(f"{name}.attention.key_length", hidden // heads)
    for setting in (f"{name}.attention.value_length", f"{name}.rope.dimension_count"):
        if weights.whole(setting, head) != head:
            raise BadInput(f"{weights.path}: a {setting} that is not the head's size, {head}, is not emulated.")
    shape = ModelSizes(
        architecture=emulated[name],
        vocabulary=weights.length("token_embd.weight"),
        layers=weights.whole(f"{name}.block_count"),
        hidden=hidden,
        intermediate=weights.whole(f"{name}.feed_forward_length"),
        heads=heads,
        kv_heads=weights.whole(f"{name}.attention.head_count_kv", heads),
        head=head,
        epsilon=weights.number(f"{name}.attention.layer_norm_rms_epsilon"),
        rope_base=weights.number(f"{name}.rope.freq_base", 10000.0),
    )
    if shape.heads % shape.kv_heads or shape.head % 2:
        raise BadInput(f"{weights.path}: {heads} heads of {head} numbers for {shape.kv_heads} of keys do not go.")
    if strangers := [tensor for tensor in weights.tensors if not _followed(tensor, shape)]:
        raise BadInput(f"{weights.path}: the tensor {strangers[0]} is not emulated.")
    return shape


def predict(
    weights: GgufWeights,
    tokens: Tensor,
    arithmetic: Arithmetic,
    *,
    first: int,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[Tensor]:
    """Yield the logits [positions from `first` on without the last, vocabulary] of each window.

    `tokens`: int [windows, context]. `on_step` gets (steps done, steps in all): layers, then windows.
    Raises BadInput where the file is not one that is followed here, or holds not what its settings say.
    """
    shape = sizes_of(weights)
    steps = shape.layers + len(tokens)
    rope = _rope(weights, shape, tokens.shape[1])
    hidden = [weights.rows("token_embd.weight", window, (shape.vocabulary, shape.hidden)) for window in tokens]
    for number in range(shape.layers):
        layer = _Layer(weights, shape, number, arithmetic, rope)
        hidden = [layer(window) for window in hidden]
        if on_step:
            on_step(number + 1, steps)
    norm = weights.vector("output_norm.weight", shape.hidden)
    # A tied head is to llama.cpp a copy of the embedding, and a linear like any other.
    name = "output" if "output.weight" in weights.tensors else "token_embd"
    head = weights.linear(name, (shape.vocabulary, shape.hidden), arithmetic)
    for number, window in enumerate(hidden):
        yield head(rms_norm(window[first:-1], (shape.hidden,), norm, shape.epsilon))
        if on_step:
            on_step(shape.layers + number + 1, steps)


class _Layer:
    """A decoder layer: float32 [positions, hidden] in, [positions, hidden] out."""

    def __init__(
        self, weights: GgufWeights, shape: ModelSizes, number: int, arithmetic: Arithmetic, rope: tuple[Tensor, Tensor]
    ) -> None:
        self.shape, self.rope = shape, rope
        at = f"blk.{number}"
        self.norms = {name: weights.vector(f"{at}.{name}.weight", size) for name, size in shape.norms.items()}
        self.linears = {name: weights.linear(f"{at}.{name}", size, arithmetic) for name, size in shape.linears.items()}

    def __call__(self, x: Tensor) -> Tensor:
        x = x + self._attention(self._norm("attn_norm", x))
        normed = self._norm("ffn_norm", x)
        gated = silu(self.linears["ffn_gate"](normed)) * self.linears["ffn_up"](normed)
        return x + self.linears["ffn_down"](gated)

    def _attention(self, x: Tensor) -> Tensor:
        queries, keys, values = (self._heads(name, x) for name in ("attn_q", "attn_k", "attn_v"))
        if self.shape.architecture.head_norms:
            queries, keys = self._norm("attn_q_norm", queries), self._norm("attn_k_norm", keys)
        queries, keys = self._with_rope(queries), self._with_rope(keys)
        # The KV cache is f16. (Queries stay float32, and so do the sums, in windows of 64 tokens or more.)
        keys, values = keys.half().float(), values.half().float()
        mixed = scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
        return self.linears["attn_output"](mixed.transpose(0, 1).flatten(1))

    def _heads(self, name: str, x: Tensor) -> Tensor:
        """Return the linear's output as [heads, positions, numbers]."""
        return self.linears[name](x).view(len(x), -1, self.shape.head).transpose(0, 1)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return rms_norm(x, x.shape[-1:], self.norms[name], self.shape.epsilon)

    def _with_rope(self, x: Tensor) -> Tensor:
        cos, sin = self.rope
        neighbours = self.shape.architecture.rope == "neighbours"
        a, b = (x[..., 0::2], x[..., 1::2]) if neighbours else x.chunk(2, dim=-1)
        rotated = a * cos - b * sin, a * sin + b * cos
        return torch.stack(rotated, dim=-1).flatten(-2) if neighbours else torch.cat(rotated, dim=-1)


def _rope(weights: GgufWeights, shape: ModelSizes, context: int) -> tuple[Tensor, Tensor]:
    """Return rope's cosines and sines, float32 [positions, head / 2]. Llama 3 divides its frequencies by factors."""
    pairs = shape.head // 2
    frequencies = shape.rope_base ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    if "rope_freqs.weight" in weights.tensors:
        frequencies /= weights.vector("rope_freqs.weight", pairs)
    angles = torch.arange(context, dtype=torch.float64)[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def _followed(tensor: str, shape: ModelSizes) -> bool:
    of_layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", tensor)
    if of_layer is None:
        return tensor in WHOLE
    number, name, kind = of_layer.groups()
    return int(number) < shape.layers and (name in LINEARS or (name in shape.norms and kind == "weight"))
