"""What a GGUF was made from and how: beside it (NAME.gguf.json) and in its own metadata. Needs no torch to read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from smoothdroid.host.model.smoothquant.folds import Kind

# How a checkpoint becomes a GGUF. Count on with every change of the code that changes what is written for the same
# settings: a file made before is then not taken for what would be made now.
PREPARATION_VERSION = 3

Quantisation = Literal["f32", "f16", "q8_0", "q4_0"]
"""llama.cpp's names: how a GGUF holds its matrices."""

Kernel = Literal["ggml", "kleidiai"]
"""Whose arithmetic strengths are measured on: see host/model/arithmetic/."""

METADATA_KEY = "smoothdroid.manifest"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceCheckpoint(_Record):
    """The checkpoint: its folder's name, its revision where the hub's cache tells it, and its files' SHA-256."""

    name: str
    revision: str | None
    weights_sha256: dict[str, str]
    companions_sha256: dict[str, str]


class AutoAlpha(_Record):
    """Strengths are to be chosen: for this kernel's arithmetic and these weights."""

    kernel: str
    quantisation: str


class Smoothing(_Record):
    """The settings of SmoothQuant, and the text that it was calibrated on."""

    alpha: dict[Kind, float] | AutoAlpha  # the strength of each kind of fold
    folds: tuple[Kind, ...]
    rotate: bool
    untie: bool  # a head that was tied to the embedding may have a tensor of its own
    n_samples: int
    seq_len: int
    seed: int
    calibration_text: str
    calibration_sha256: str


class Recipe(_Record):
    """All that decides a GGUF's content. Two equal recipes need not be cooked twice."""

    preparation: int
    source: SourceCheckpoint
    architecture: str
    quantisation: Quantisation
    llama_cpp: str
    smoothing: Smoothing | None


class Equivalence(_Record):
    """How far the smoothed model is from the original, on text that was not calibrated on.

    `computed_in`: float64 where float32's own rounding hid the answer.
    """

    max_abs_logit_difference: float
    logit_range: float
    n_tokens: int
    computed_in: Literal["float32", "float64"] = "float32"


class FoldAlpha(_Record):
    """What one fold got. `alpha` is None where not folding was best; `statistic` is of the ranges balanced."""

    kind: Kind
    layer: int | None  # None for the head's
    expert: int | None
    fold: str
    alpha: float | None
    statistic: str


class HeldOut(_Record):
    """Mean KLD to float32 of the emulated kernel, on held-out text: what the choice was made by."""

    n_tokens: int
    kld: dict[str, float]  # "plain", "folded", "rotated and folded"


class SmoothingOutcome(_Record):
    """What smoothing came to. `chosen`: "folded", "rotated and folded", or "plain" where nothing was better."""

    chosen: str
    equivalence: Equivalence | None
    alphas: tuple[FoldAlpha, ...] = Field(validation_alias=AliasChoices("alphas", "strengths"))
    """What each fold got; `strengths` in files of smoothdroid before this release."""
    held_out: HeldOut | None
    untied: bool  # the head, tied to the embedding before, has a tensor of its own
    calibrated_in: str  # the type that the activations were computed in


class Provenance(_Record):
    """What stands in the GGUF's own metadata."""

    recipe: Recipe
    outcome: SmoothingOutcome | None
    versions: dict[str, str]


class Manifest(Provenance):
    """What stands in NAME.gguf.json beside NAME.gguf."""

    kind: Literal["smoothdroid-artifact"] = "smoothdroid-artifact"
    schema_version: Literal[2] = 2
    file: str
    sha256: str
    size_bytes: int
    n_parameters: int
    bits_per_weight: float


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
