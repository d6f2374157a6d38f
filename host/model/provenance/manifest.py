"""The manifest of a GGUF: how it was made, in NAME.gguf.json beside it and in its own metadata. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from smoothdroid.host.model.smoothquant.folds import Kind

# How a checkpoint becomes a GGUF. Count on with every change of the code that changes what is written for the same
# settings: a file made before is then not taken for what would be made now.
PREPARATION_VERSION = 4

Kernel = Literal["ggml", "kleidiai"]
"""The kernels whose arithmetic alphas are measured on: see host/model/arithmetic/."""

METADATA_KEY = "smoothdroid.manifest"


class _ManifestPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceCheckpoint(_ManifestPart):
    """The checkpoint: its folder's name, its revision where the hub's cache tells it, and its files' SHA-256."""

    name: str
    revision: str | None
    weights_sha256: dict[str, str]
    companions_sha256: dict[str, str]


class AutoAlpha(_ManifestPart):
    """A request to choose the alphas for this kernel's arithmetic and these weights."""

    kernel: str
    quantisation: str
    head: str | None = None
    """The type of the head's weights. None in files of earlier releases: as `quantisation`."""


class Smoothing(_ManifestPart):
    """The settings of SmoothQuant, and the text that it was calibrated on."""

    alpha: dict[Kind, float] | AutoAlpha  # the alpha of each kind of fold
    folds: tuple[Kind, ...]
    rotate: bool
    untie: bool  # a head that was tied to the embedding may have a tensor of its own
    n_samples: int
    seq_len: int
    seed: int
    calibration_text: str
    calibration_sha256: str


class Recipe(_ManifestPart):
    """The inputs that decide a GGUF's content: equal recipes give equal files."""

    preparation: int
    source: SourceCheckpoint
    architecture: str
    quantisation: str
    """The type of the GGUF, one of `file_types.FILE_TYPES`."""
    head: str | None = None
    """The type of the head's tensor. None: llama.cpp's own choice, for an architecture that is not in the table."""
    imatrix_sha256: str | None = None
    """The SHA-256 of the importance matrix that the weights were rounded by."""
    llama_cpp: str
    smoothing: Smoothing | None


class Equivalence(_ManifestPart):
    """The distance of the smoothed model from the original, on text that was not calibrated on.

    `computed_in`: float64 where float32's own rounding hid the answer.
    """

    max_abs_logit_difference: float
    logit_range: float
    n_tokens: int
    computed_in: Literal["float32", "float64"] = "float32"


class FoldAlpha(_ManifestPart):
    """The alpha of one fold, None where not folding was best; `statistic` names the balanced property."""

    kind: Kind
    layer: int | None  # None for the head's
    expert: int | None
    fold: str
    alpha: float | None
    statistic: str


class HeldOut(_ManifestPart):
    """The mean KLD to float32 of the emulated kernel on held-out text, by which the choice was made."""

    n_tokens: int
    kld: dict[str, float]  # "plain", "folded", "rotated and folded"


class SmoothingOutcome(_ManifestPart):
    """The outcome of smoothing. `chosen`: "folded", "rotated and folded", or "plain" where nothing was better."""

    chosen: str
    equivalence: Equivalence | None
    alphas: tuple[FoldAlpha, ...] = Field(validation_alias=AliasChoices("alphas", "strengths"))
    """The alpha of each fold; files of earlier releases call it `strengths`."""
    held_out: HeldOut | None
    untied: bool  # the head, tied to the embedding before, has a tensor of its own
    calibrated_in: str  # the type that the activations were computed in


class Provenance(_ManifestPart):
    """The provenance of a GGUF, as its own metadata hold it."""

    recipe: Recipe
    outcome: SmoothingOutcome | None
    versions: dict[str, str]
    changes_sha256: str | None = None
    """The SHA-256 of the file of changes beside the GGUF; None in files of earlier releases, which have none."""


class Manifest(Provenance):
    """The manifest NAME.gguf.json beside NAME.gguf: its provenance and its facts."""

    kind: Literal["smoothdroid-artifact"] = "smoothdroid-artifact"
    schema_version: Literal[2] = 2
    file: str
    sha256: str
    size_bytes: int
    n_parameters: int
    bits_per_weight: float


def manifest_path(gguf: Path) -> Path:
    """Return the path of the manifest beside the GGUF."""
    return gguf.with_name(gguf.name + ".json")


def changes_path(gguf: Path) -> Path:
    """Return the path of the file beside the GGUF that holds the changes to its tensors, for adapters."""
    return gguf.with_name(gguf.name + ".changes")


def read_finished(gguf: Path, recipe: Recipe) -> Manifest | None:
    """Return the manifest of a finished `gguf` made by this very recipe, or None where it has to be made."""
    try:
        manifest = Manifest.model_validate_json(manifest_path(gguf).read_bytes())
        size_bytes = gguf.stat().st_size
    except (OSError, ValidationError):
        return None
    whole = manifest.size_bytes == size_bytes and changes_path(gguf).is_file()
    return manifest if whole and manifest.recipe == recipe else None
