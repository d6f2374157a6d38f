"""The manifest beside a GGUF: what it was made from and how, and what it is. Needs no torch to read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Record):
    """The checkpoint: its folder's name and the SHA-256 of every file that had a part in the GGUF."""

    name: str
    weights_sha256: dict[str, str]
    companions_sha256: dict[str, str]


class Smoothing(_Record):
    """The settings of SmoothQuant, and the text that it was calibrated on."""

    alpha: float
    n_samples: int
    seq_len: int
    seed: int
    calibration_text: str
    calibration_sha256: str
    folds: tuple[str, ...]


class Recipe(_Record):
    """All that decides a GGUF's content. Two equal recipes need not be cooked twice."""

    source: Source
    architecture: str
    quantisation: str
    llama_cpp: str
    smoothing: Smoothing | None


class Equivalence(_Record):
    """How far the smoothed float32 model is from the original, on text that was not calibrated on."""

    max_abs_logit_difference: float
    n_tokens: int


class Manifest(_Record):
    """What stands in NAME.gguf.json beside NAME.gguf."""

    kind: Literal["smoothdroid-artifact"] = "smoothdroid-artifact"
    schema_version: Literal[1] = 1
    file: str
    sha256: str
    size_bytes: int
    n_parameters: int
    bits_per_weight: float
    recipe: Recipe
    equivalence: Equivalence | None
    versions: dict[str, str]


def manifest_path(gguf: Path) -> Path:
    return gguf.with_name(gguf.name + ".json")


def read_finished(gguf: Path, recipe: Recipe) -> Manifest | None:
    """The manifest of a finished `gguf` made by this very recipe, or None where it has to be made."""
    try:
        manifest = Manifest.model_validate_json(manifest_path(gguf).read_bytes())
        size_bytes = gguf.stat().st_size
    except (OSError, ValidationError):
        return None
    return manifest if manifest.recipe == recipe and manifest.size_bytes == size_bytes else None
