"""The work of a model per token: bytes to read, weights to multiply with."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf import artifact
from smoothdroid.host.gguf.artifact import Header
from smoothdroid.host.gguf.memory_shape import Shape

SHAPES = Path(__file__).with_name("shapes.toml")
CONFIG = "config.json"

GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text", "phi3", "smollm3", "olmo2")
"""Architectures whose layers are four attention projections, a gated feed-forward, and nothing else of size."""

CACHE_BYTES = GGML_QUANT_SIZES[GGMLQuantizationType.F16][1]
"""Bytes of an element of the KV cache in its default type, F16."""

FLOATS = {"f32": "f32", "f16": "f16", "bf16": "f32"}
"""The types in which ggml multiplies unquantised weights; all others are multiplied as 8-bit integers."""

NO_WEIGHTS = ("f64", "i8", "i16", "i32", "i64", "q8_1", "q8_k")
"""Types of ggml that no model's weights have: for counts, positions and activations."""

MOST = 2**31 - 1
"""The largest number that is accepted in a config.json."""


@dataclass(frozen=True)
class Work:
    """The work of one model in one type."""

    name: str
    weights_bytes: int
    """Bytes that each token of decode reads: layers and head, without the embedding, of which it reads one row."""
    cache_bytes: int
    """Bytes that each token adds to the KV cache, and that each later token reads."""
    window: int
    """Tokens that the layers with a sliding window look back; 0 without such layers."""
    window_cache_bytes: int
    """As `cache_bytes`, for the layers that have or may have a sliding window."""
    multiplied: int | None
    """Weights that each token of prefill is multiplied with, the layers' matrices; None where unknown."""
    kind: str
    """The type that the cores multiply: int8, f16 or f32."""

    def decode_bytes(self, depth: int) -> int:
        """Return the least number of bytes that a token reads after `depth` others."""
        near = min(depth, self.window)
        return self.weights_bytes + depth * self.cache_bytes + near * self.window_cache_bytes

    @property
    def operations(self) -> int | None:
        """Multiplications and additions per token of prefill, without attention (1 % for a 7B at 512 tokens)."""
        return None if self.multiplied is None else 2 * self.multiplied


def known() -> list[str]:
    """Return the names of well-known models."""
    return list(_shapes())


def of(model: str, type_: str | None = None) -> Work:
    """Return the work of a GGUF file, a checkpoint's folder or a well-known model; `type_` (q8_0) is for the last two.

    Raises BadInput where `model` is none of these, its header is damaged, or its reads per token are unknown.
    """
    path = Path(model)
    if path.is_dir():
        return of_config(read_config(path), type_ or "q8_0", path.resolve().name)
    if path.exists() or path.suffix == ".gguf":
        if type_:
            raise BadInput(f"--type is for checkpoints and well-known models; the types of {path} are fixed")
        return of_header(artifact.read(path))
    if shape := _shapes().get(model.lower()):
        return of_config(shape, type_ or "q8_0", model.lower())
    raise BadInput(
        f"unknown model '{model}': expected a GGUF file, a folder with a {CONFIG}, or one of {', '.join(known())}"
    )


def of_header(model: Header) -> Work:
    """Return the work of a GGUF. Raises BadInput where its reads per token are unknown."""
    if model.decode_bytes is None or model.shape is None:
        raise BadInput(f"{model.name} is a mixture of experts: which weights a token reads is not known in advance")
    shape = model.shape
    return Work(
        model.name,
        model.decode_bytes,
        CACHE_BYTES * (shape.keys + shape.values),
        shape.window or 0,
        CACHE_BYTES * (shape.window_keys + shape.window_values),
        shape.multiplied,
        _kind(shape),
    )


def _kind(shape: Shape) -> str:
    """Return the type that the cores multiply, from the mean bits per weight; BF16 counts as F16."""
    bits = 8 * (shape.multiplied_bytes or 0) / shape.multiplied if shape.multiplied else 0
    return "f32" if bits > 20 else "f16" if bits > 12 else "int8"


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's config.json. Raises BadInput where it is missing or not a JSON object."""
    file = folder / CONFIG
    if not file.is_file():
        raise BadInput(f"{folder} has no {CONFIG}: expected a checkpoint's folder or a GGUF file")
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise BadInput(f"{file} is not a JSON object")
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def of_config(config: Mapping[str, Any], type_: str, name: str) -> Work:
    """Return the work of a model whose matrices are all of one type, as `smoothdroid prepare` writes them.

    Raises BadInput for an unknown architecture, an invalid number, or a type that ggml does not have.
    """
    architecture = config.get("model_type")
    if architecture not in GATED:
        raise BadInput(f"{name}: unknown architecture {str(architecture)[:40]!r}; convert it and name the GGUF")
    block, block_bytes = _block(type_)
    hidden, layers, vocabulary = (
        _count(config, key, name) for key in ("hidden_size", "num_hidden_layers", "vocab_size")
    )
    heads = _count(config, "num_attention_heads", name)
    kv_heads = _count(config, "num_key_value_heads", name, default=heads)
    width = _count(config, "head_dim", name, default=max(hidden // heads, 1))
    attention = hidden * width * (2 * heads + 2 * kv_heads)
    multiplied = layers * (attention + 3 * hidden * _count(config, "intermediate_size", name))
    window = _count(config, "sliding_window", name, default=0) if config.get("use_sliding_window", True) else 0
    cache = layers * 2 * kv_heads * width * CACHE_BYTES
    return Work(
        f"{name} {type_}",
        (multiplied + hidden * vocabulary) // block * block_bytes,
        0 if window else cache,
        window,
        cache if window else 0,
        multiplied,
        FLOATS.get(type_, "int8"),
    )


def _block(type_: str) -> tuple[int, int]:
    """Return the number of weights in a block of a ggml type, and the block's bytes."""
    known_types = {member.name.lower(): size for member, size in GGML_QUANT_SIZES.items()}
    if type_ not in known_types or type_ in NO_WEIGHTS:
        raise BadInput(f"ggml has no type `{type_}` for weights; use q8_0, q4_0, q4_k, f16, ...")
    return known_types[type_]


def _count(config: Mapping[str, Any], key: str, name: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST:
        raise BadInput(f"{name}: {key} is {str(value)[:40]}, not a positive integer")
    return value


@cache
def _shapes() -> dict[str, dict[str, Any]]:
    return tomllib.loads(SHAPES.read_text(encoding="utf-8"))
