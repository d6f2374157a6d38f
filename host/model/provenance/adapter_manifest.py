"""The provenance of an adapter's GGUF: what it was made of, and the one base that it fits. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.reader import GgufFile
from smoothdroid.host.model.provenance.manifest import Equivalence

ADAPTER_KEY = "smoothdroid.adapter"


class SourceAdapter(BaseModel):
    """The PEFT adapter: its folder's name, its files' SHA-256, and what its settings say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    files_sha256: dict[str, str]
    trained_on: str | None
    """The adapter's own name for its base."""
    rank: int
    alpha: float
    rank_stabilised: bool
    n_modules: int


class AdapterBinding(BaseModel):
    """The source of an adapter's GGUF and the base it fits, as its own metadata hold them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceAdapter
    base: str
    base_sha256: str
    llama_cpp: str
    versions: dict[str, str]


class AdapterManifest(AdapterBinding):
    """The manifest NAME.gguf.json beside an adapter's NAME.gguf."""

    kind: Literal["smoothdroid-adapter"] = "smoothdroid-adapter"
    schema_version: Literal[1] = 1
    file: str
    sha256: str
    size_bytes: int
    equivalence: Equivalence
    """The distance between base and adapter as they were and as they are written."""


def read_binding(adapter: Path) -> AdapterBinding:
    """Read which base an adapter's GGUF fits. Raises BadInput where it is no adapter, or does not say."""
    gguf = GgufFile(adapter)
    if gguf.text("general.type") != "adapter":
        raise BadInput(f"{adapter}: this GGUF is no adapter. Make one with `smoothdroid adapter PEFT_DIR --base GGUF`.")
    stored = gguf.text(ADAPTER_KEY)
    if stored is None:
        raise BadInput(
            f"{adapter}: it does not say which base it fits, and on a smoothed base an adapter that was not made for "
            "it gives garbage. Make it of the PEFT adapter with `smoothdroid adapter PEFT_DIR --base GGUF`."
        )
    try:
        return AdapterBinding.model_validate_json(stored)
    except ValidationError as error:
        raise BadInput(
            f"{adapter}: which base it fits cannot be read: another version of smoothdroid wrote it. Make it again."
        ) from error


def require_base(adapter: Path, base: Path, base_sha256: str) -> None:
    """Raise BadInput where the adapter was made for another file than `base`."""
    binding = read_binding(adapter)
    if binding.base_sha256 != base_sha256:
        raise BadInput(
            f"{adapter}: it was made for {binding.base} with the SHA-256 {binding.base_sha256[:16]}..., and {base} is "
            f"{base_sha256[:16]}...: on another base it gives garbage. Make it for this one: `smoothdroid adapter "
            f"PEFT_DIR --base {base}`."
        )
