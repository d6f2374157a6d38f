"""A GGUF as a benchmark sees it: whole, and known by its hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.gguf import memory_shape
from smoothdroid.host.gguf.memory_shape import Shape
from smoothdroid.host.gguf.reader import GgufFile, reading


class Header(BaseModel):
    """A model file, as its header and the record of `smoothdroid prepare` describe it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    name: str
    """The file's name without `.gguf`: how the reports call it."""
    size_bytes: int
    architecture: str
    parameters: int
    bits_per_weight: float
    decode_bytes: int | None = None
    """Bytes of weights that each decoded token reads; None for a mixture of experts, which reads some of them."""
    shape: Shape | None = None
    """The memory that its weights and its KV cache need; None in a record that is older than this field."""


class Artifact(Header):
    """A model file, known by its content."""

    sha256: str
    manifest: dict[str, Any] | None
    """The record that `smoothdroid prepare` wrote beside it, if any: alpha, folds, the proof."""


def inspect(path: Path, *, on_step: Callable[[str], None] | None = None) -> Artifact:
    """Read a GGUF's header and hash the file. Raises BadInput when it is missing, no GGUF, or cut short."""
    header = read(path)
    if on_step:
        on_step(f"hashing {path.name}")
    manifest = _manifest(path.with_name(f"{path.name}.json"))
    return Artifact(**dict(header), sha256=sha256_of(path), manifest=manifest)


def read(path: Path) -> Header:
    """Read a GGUF's header alone. Raises BadInput as `inspect`."""
    gguf = GgufFile(path)
    with reading(path):
        memory = memory_shape.read(gguf)
    if not gguf.n_parameters or not gguf.architecture:
        raise BadInput(f"{path} holds no model: {gguf.n_parameters} parameters, architecture `{gguf.architecture}`")
    size, end = path.stat().st_size, max(int(tensor.data_offset + tensor.n_bytes) for tensor in gguf.tensors)
    if end > size:
        raise BadInput(f"{path} is cut short: {size} bytes of {end}; copy or prepare it again")
    experts = any("_exps." in str(tensor.name) for tensor in gguf.tensors)
    return Header(
        path=path,
        name=path.stem,
        size_bytes=size,
        architecture=gguf.architecture,
        parameters=gguf.n_parameters,
        bits_per_weight=gguf.bits_per_weight,
        decode_bytes=None if experts else memory.weights_bytes,
        shape=memory,
    )


def _manifest(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadInput(f"{path}, beside the model, is no JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise BadInput(f"{path}, beside the model, is no manifest")
    return manifest
