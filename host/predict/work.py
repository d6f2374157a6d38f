"""What a model asks of a phone for each token: bytes to read, weights to multiply with."""

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
"""Architectures whose layers are four projections of attention and a gated feed-forward, and nothing else of weight."""

CACHE_BYTES = GGML_QUANT_SIZES[GGMLQuantizationType.F16][1]
"""Of an element in the KV cache, as llama.cpp keeps it where nothing else is asked for."""

FLOATS = {"f32": "f32", "f16": "f16", "bf16": "f32"}
"""What ggml multiplies for weights that are not quantised; all others it multiplies as 8-bit integers."""

NO_WEIGHTS = ("f64", "i8", "i16", "i32", "i64", "q8_1", "q8_k")
"""Types of ggml's in which no model comes: counts, positions, and what it keeps activations in."""

MOST = 2**31 - 1


@dataclass(frozen=True)
class Work:
    """Of one model in one type."""

    name: str
    weights_bytes: int
    """That each token of decode reads: layers and head, not the embedding, of which it reads a row."""
    cache_bytes: int
    """That each token leaves in the KV cache, and each later one reads."""
    window: int
    """Tokens that the layers with a sliding window look back; 0: there are none."""
    window_cache_bytes: int
    """As `cache_bytes`, of the layers that have a window, or may have one."""
    multiplied: int | None
    """Weights that each token of prefill is multiplied with: the layers' matrices. None where it is not known."""
    kind: str
    """What the cores multiply: int8, f16 or f32."""

    def decode_bytes(self, depth: int) -> int:
        """That a token reads at least which comes after `depth` others."""
        near = min(depth, self.window)
        return self.weights_bytes + depth * self.cache_bytes + near * self.window_cache_bytes

    @property
    def operations(self) -> int | None:
        """Multiplications and additions for a token of prefill, without attention: 1 % of it at 512 tokens of a 7B."""
        return None if self.multiplied is None else 2 * self.multiplied


def known() -> list[str]:
    """The names of well-known shapes."""
    return list(_shapes())


def of(model: str, type_: str | None = None) -> Work:
    """Of a GGUF file, a checkpoint's folder or a well-known name; `type_` for the last two, q8_0 if not given.

    Raises BadInput where it is none of them, its header is damaged, or what it reads for a token is not known.
    """
    path = Path(model)
    if path.is_dir():
        return of_config(read_config(path), type_ or "q8_0", path.resolve().name)
    if path.exists() or path.suffix == ".gguf":
        if type_:
            raise BadInput(f"--type is for checkpoints and well-known models: {path} has the types it has")
        return of_header(artifact.read(path))
    if shape := _shapes().get(model.lower()):
        return of_config(shape, type_ or "q8_0", model.lower())
    raise BadInput(f"{model} is no GGUF file, no folder with a {CONFIG}, and none of {', '.join(known())}")


def of_header(model: Header) -> Work:
    """Of a GGUF. Raises BadInput where it does not say what a token reads."""
    if model.decode_bytes is None or model.shape is None:
        raise BadInput(f"{model.name} is a mixture of experts: which of its weights a token reads is not known before")
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
    """By the bits of most of its matrices; BF16 is taken for F16."""
    bits = 8 * (shape.multiplied_bytes or 0) / shape.multiplied if shape.multiplied else 0
    return "f32" if bits > 20 else "f16" if bits > 12 else "int8"


def read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's config.json. Raises BadInput where there is none, or no object in it."""
    file = folder / CONFIG
    if not file.is_file():
        raise BadInput(f"{folder} has no {CONFIG}: name a checkpoint's folder, or a GGUF file")
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise BadInput(f"{file} holds no object")
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def of_config(config: Mapping[str, Any], type_: str, name: str) -> Work:
    """All matrices in one type, as `llama-quantize --pure` and `smoothdroid prepare` write them.

    Raises BadInput for an architecture whose layers are others, a number that is none, a type that ggml lacks.
    """
    architecture = config.get("model_type")
    if architecture not in GATED:
        raise BadInput(
            f"{name}: the layers of {str(architecture)[:40]!r} are not known here; convert it, name the GGUF"
        )
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
    """Weights in a block of ggml's, and its bytes."""
    known_types = {member.name.lower(): size for member, size in GGML_QUANT_SIZES.items()}
    if type_ not in known_types or type_ in NO_WEIGHTS:
        raise BadInput(f"ggml has no type `{type_}` for weights: q8_0, q4_0, q4_k, f16 and so on")
    return known_types[type_]


def _count(config: Mapping[str, Any], key: str, name: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST:
        raise BadInput(f"{name}: {key} is {str(value)[:40]}, which is no count")
    return value


@cache
def _shapes() -> dict[str, dict[str, Any]]:
    return tomllib.loads(SHAPES.read_text(encoding="utf-8"))
