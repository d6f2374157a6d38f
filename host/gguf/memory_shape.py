"""The memory that the model of a GGUF needs, as far as its header tells for certain.

The widths are those of the tensors, not of the metadata: llama.cpp refuses a file where the two differ, and a tensor
is as large as the file has bytes for it. What cannot be known for certain counts as nothing, so every number here is
the least that it can be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from smoothdroid.host.gguf.reader import GgufFile

MOST = 2**31 - 1
"""The largest number that llama.cpp counts."""

# Windows and layers that llama.cpp's sources hold (src/models/NAME.cpp, commit 0c1e57098), where a GGUF may be silent.
WINDOWS = {"gemma2": 4096, "exaone4": 4096, "exaone-moe": 128, "llama4": 8192}
FIRST_LAYERS_WITH_CACHE = {"gemma3n": 20}
# They attend to what comes later too, and have no cache (llama_model::create_memory); others say `attention.causal`.
WITHOUT_CACHE = {"dream", "llada", "llada-moe", "rnd1"}

_TENSOR = re.compile(r"blk\.(\d{1,6})\.(\w+)\.weight", re.ASCII)
# Of these a token reads one row: they are mapped, and most of their pages are never read.
_ROWS = ("token_embd.weight", "per_layer_token_embd.weight")


class Shape(BaseModel):
    """The memory that a model needs at least. Elements, not bytes: the type of the KV cache is chosen when it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights_bytes: int = Field(ge=0)
    """Bytes of weights that prefill reads, without an embedding that is not the head as well."""
    layers: int = Field(ge=0)
    """That keep keys and values."""
    keys: int = Field(ge=0)
    """Elements that a token leaves in the K cache, over all layers that keep every token."""
    values: int = Field(ge=0)
    window: int | None = None
    """Tokens that the other layers look back (sliding-window attention); they keep few more."""
    window_keys: int = Field(default=0, ge=0)
    """Elements as `keys`, of the layers with a window; of all layers where the GGUF does not name those."""
    window_values: int = Field(default=0, ge=0)
    hidden: int = Field(ge=0)
    """The widest thing that a layer computes for each token: the feed-forward's gate and up."""
    multiplied: int | None = Field(default=None, ge=0)
    """Weights that each token of prefill is multiplied with: the layers' matrices. The head is not among them: it is
    computed for a prompt's last token alone. None for a mixture of experts, and in a record older than this field."""
    multiplied_bytes: int | None = Field(default=None, ge=0)
    """Their bytes: they tell whether most of them are floats."""


def read(gguf: GgufFile) -> Shape:
    """Return the memory that the model of a GGUF needs. Raises ValueError naming an entry that is no count."""
    facts = _Facts(gguf)
    tensors = {str(tensor.name): [int(n) for n in tensor.shape] for tensor in gguf.tensors}
    sizes = {str(tensor.name): int(tensor.n_bytes) for tensor in gguf.tensors}
    layers = _layers(tensors)
    caches = _caches(layers, facts)
    window, windowed = _windowed(caches, facts)
    matrices = _matrices(tensors, facts)
    whole = [cache for layer, cache in caches.items() if layer not in windowed]
    near = [cache for layer, cache in caches.items() if layer in windowed]
    return Shape(
        weights_bytes=sum(size for name, size in sizes.items() if name not in _rows(tensors)) - _idle(sizes, facts),
        layers=len(caches),
        keys=sum(keys for keys, _ in whole),
        values=sum(values for _, values in whole),
        window=window,
        window_keys=sum(keys for keys, _ in near),
        window_values=sum(values for _, values in near),
        hidden=max((_hidden(layer) for layer in layers.values()), default=0),
        multiplied=sum(math.prod(tensors[name]) for name in matrices) if matrices is not None else None,
        multiplied_bytes=sum(sizes[name] for name in matrices) if matrices is not None else None,
    )


class _Facts:
    """The metadata, hostile until checked."""

    def __init__(self, gguf: GgufFile) -> None:
        self._gguf, self.architecture = gguf, gguf.architecture

    def count(self, name: str) -> int | None:
        """Return a number of the metadata; None where it is missing. Raises ValueError when it is no count."""
        value = self._value(name)
        return None if value is None else _count(value, f"{self.architecture}.{name}")

    def counts(self, name: str) -> int | list[int] | None:
        """Return one value for all layers, or one for each layer."""
        value = self._value(name)
        if isinstance(value, list):
            return [_count(int(item) if isinstance(item, bool) else item, f"{name} of a layer") for item in value]
        return None if value is None else _count(value, f"{self.architecture}.{name}")

    def of_layer(self, name: str, layer: int) -> int | None:
        counts = self.counts(name)
        if isinstance(counts, list):
            return counts[layer] if layer < len(counts) else None
        return counts

    @property
    def causal(self) -> bool:
        return self._value("attention.causal") is not False and self.architecture not in WITHOUT_CACHE

    @property
    def trunk(self) -> int:
        """The layers that run; those that guess further tokens come after them and stay where they are."""
        return (self.count("block_count") or MOST) - (self.count("nextn_predict_layers") or 0)

    @property
    def with_cache(self) -> int:
        """The layers from the first on that have keys and values of their own."""
        if self.architecture in FIRST_LAYERS_WITH_CACHE:
            return FIRST_LAYERS_WITH_CACHE[self.architecture]
        return min(self.trunk, (self.count("block_count") or MOST) - (self.count("attention.shared_kv_layers") or 0))

    def _value(self, name: str) -> object:
        return self._gguf.value(f"{self.architecture}.{name}")


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise ValueError(f"{name} is {str(value)[:40]}, which is no count")
    return value


Layer = Mapping[str, Sequence[int]]
"""Tensor -> its shape, as GGUF writes it: what goes in, what comes out."""


def _layers(tensors: Mapping[str, Sequence[int]]) -> Mapping[int, Layer]:
    layers: dict[int, dict[str, Sequence[int]]] = {}
    for name, shape in tensors.items():
        if match := _TENSOR.fullmatch(name):
            layers.setdefault(int(match[1]), {})[match[2]] = shape
    return layers


def _caches(layers: Mapping[int, Layer], facts: _Facts) -> dict[int, tuple[int, int]]:
    """Layer -> elements of K and V that a token leaves there."""
    if not facts.causal:
        return {}
    caches = {}
    for number, layer in layers.items():
        # A recurrent layer keeps a state, not tokens, and may have a tensor named attn_qkv all the same.
        if number >= facts.with_cache or any(name.startswith("ssm_") for name in layer):
            continue
        if cache := _cache(number, layer, facts):
            caches[number] = cache
    return caches


def _cache(number: int, layer: Layer, facts: _Facts) -> tuple[int, int] | None:
    if "attn_k" in layer:
        return _out(layer, "attn_k"), _out(layer, "attn_v")
    if "attn_kv_a_mqa" in layer:  # multi-head latent attention: what is kept is small, and there is no V
        return (_out(layer, "attn_kv_a_mqa"), 0) if facts.count("attention.key_length_mla") else None
    if "attn_qkv" in layer:
        return _fused(number, _out(layer, "attn_qkv"), facts)
    return None


def _fused(number: int, out: int, facts: _Facts) -> tuple[int, int] | None:
    """Return the widths of K and V in a tensor of Q, K and V; None where the metadata contradict its width."""
    heads = facts.of_layer("attention.head_count", number)
    if not heads:
        return None
    kv_heads = facts.of_layer("attention.head_count_kv", number)
    kv_heads = heads if kv_heads is None else kv_heads
    width = (facts.count("embedding_length") or 0) // heads
    keys = facts.count("attention.key_length") or width
    values = facts.count("attention.value_length") or width
    fits = heads * keys + kv_heads * (keys + values) == out
    return (kv_heads * keys, kv_heads * values) if fits else None


def _windowed(caches: Mapping[int, object], facts: _Facts) -> tuple[int | None, set[int]]:
    """Return the window, and the layers that may have it."""
    window = facts.count("attention.sliding_window") or WINDOWS.get(facts.architecture)
    if not window:
        return None, set()
    pattern = facts.counts("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        return window, {layer for layer in caches if layer >= len(pattern) or pattern[layer]}
    if pattern:  # every `pattern`-th layer keeps all tokens
        return window, {layer for layer in caches if layer % pattern < pattern - 1}
    return window, set(caches)


def _hidden(layer: Layer) -> int:
    """Return the width of the feed-forward network; 0 for a mixture of experts, whose active width is not fixed."""
    return sum(_out(layer, name) for name in ("ffn_gate", "ffn_up"))


def _matrices(tensors: Mapping[str, Sequence[int]], facts: _Facts) -> list[str] | None:
    """Return the names of the matrices in the layers that run; None for a mixture of experts."""
    named = ((name, _TENSOR.fullmatch(name)) for name in tensors)
    running = {name: match[2] for name, match in named if match and int(match[1]) < facts.trunk}
    if any(name.endswith("_exps") for name in running.values()):
        return None
    return [name for name in running if len(tensors[name]) == 2]


def _out(layer: Layer, name: str) -> int:
    shape = layer.get(name, ())
    return shape[1] if len(shape) == 2 else 0


def _rows(tensors: Mapping[str, object]) -> set[str]:
    tied = "output.weight" not in tensors
    return {name for name in _ROWS if not (tied and name == "token_embd.weight")}


def _idle(sizes: Mapping[str, int], facts: _Facts) -> int:
    """Return the bytes of the layers that do not run."""
    named = ((_TENSOR.fullmatch(name), size) for name, size in sizes.items())
    return sum(size for match, size in named if match and int(match[1]) >= facts.trunk)
