"""A GGUF as a benchmark sees it: whole, and known by its hash."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gguf import GGUFReader
from pydantic import BaseModel, ConfigDict

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.gguf import memory_shape
from smoothdroid.host.gguf.memory_shape import Shape
from smoothdroid.host.gguf.reader import MAGIC, opened

_ARCHITECTURE = re.compile(r"[\w.+-]{1,100}", re.ASCII)


class Header(BaseModel):
    """What a model file says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    name: str
    """The file's name without `.gguf`: how the reports call it."""
    size_bytes: int
    architecture: str
    parameters: int
    bits_per_weight: float
    decode_bytes: int | None = None
    """Of weights that each token of decode reads; None for a mixture of experts, which reads some of them."""
    shape: Shape | None = None
    """What its weights and its KV cache take; None in a record that is older than this field."""


class Artifact(Header):
    """A model file, known by its content."""

    sha256: str
    manifest: dict[str, Any] | None
    """What `smoothdroid prepare` wrote beside it, if it did: alpha, folds, the proof."""


def inspect(path: Path, *, on_step: Callable[[str], None] | None = None) -> Artifact:
    """Read a GGUF's header and hash the file. Raises BadInput when it is missing, no GGUF, or cut short."""
    header = read(path)
    if on_step:
        on_step(f"hashing {path.name}")
    manifest = _manifest(path.with_name(f"{path.name}.json"))
    return Artifact(**dict(header), sha256=sha256_of(path), manifest=manifest)


def read(path: Path) -> Header:
    """Read a GGUF's header alone. Raises BadInput as `inspect`."""
    if not path.exists():
        raise BadInput(f"there is no file {path}")
    if path.is_dir():
        raise BadInput(f"{path} is a folder; name the .gguf file in it, or make one with `smoothdroid prepare {path}`")
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BadInput(f"{path} is no GGUF file (it does not begin with GGUF)")
    try:
        reader = opened(path)
        architecture = _architecture(reader)
        taken = memory_shape.read(reader, architecture)
        parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
        tensor_bytes = sum(int(tensor.n_bytes) for tensor in reader.tensors)
        experts = any("_exps." in str(tensor.name) for tensor in reader.tensors)
        end = max((int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors), default=0)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise BadInput(f"{path} is cut short or damaged ({error}); copy or prepare it again") from error
    if not parameters or not architecture:
        raise BadInput(f"{path} holds no model: {parameters} parameters, architecture `{architecture}`")
    if end > size:
        raise BadInput(f"{path} is cut short: {size} bytes of {end}; copy or prepare it again")
    return Header(
        path=path,
        name=path.stem,
        size_bytes=size,
        architecture=architecture,
        parameters=parameters,
        bits_per_weight=8 * tensor_bytes / parameters,
        decode_bytes=None if experts else taken.weights_bytes,
        shape=taken,
    )


def _architecture(reader: GGUFReader) -> str:
    """Empty where it is not there. Raises ValueError where it is no name."""
    field = reader.get_field("general.architecture")
    if field is None:
        return ""
    name = field.contents()
    if not isinstance(name, str) or not _ARCHITECTURE.fullmatch(name):
        raise ValueError(f"its architecture is no name: {str(name)[:40]!r}")
    return name


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
