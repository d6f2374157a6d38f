"""Inspect a GGUF: its model, and how it was made. Needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.reader import GgufFile
from smoothdroid.host.model.provenance.manifest import METADATA_KEY, AutoAlpha, Provenance, Smoothing, SmoothingOutcome


class Inspected(BaseModel):
    """The description of a GGUF, from the file alone."""

    model_config = ConfigDict(frozen=True)

    path: Path
    architecture: str
    name: str | None
    size_bytes: int
    n_parameters: int
    bits_per_weight: float
    types: dict[str, int]
    """The number of tensors of each of llama.cpp's types."""
    provenance: Provenance | None
    """The provenance; None where smoothdroid did not write the file."""


def inspect(path: Path) -> Inspected:
    """Read the GGUF in `path`. Raises BadInput where it is no GGUF, or its provenance cannot be read."""
    gguf = GgufFile(path)
    if not gguf.n_parameters:
        raise BadInput(f"{path}: it holds no tensors (a vocabulary alone?).")
    stored = gguf.text(METADATA_KEY)
    try:
        provenance = None if stored is None else Provenance.model_validate_json(stored)
    except ValidationError as error:
        raise BadInput(
            f"{path}: how it was made cannot be read ({error.error_count()} fields are not as this version writes "
            "them): another version of smoothdroid wrote it. Prepare it again."
        ) from error
    return Inspected(
        path=path,
        architecture=gguf.architecture or "?",
        name=gguf.text("general.name"),
        size_bytes=path.stat().st_size,
        n_parameters=gguf.n_parameters,
        bits_per_weight=gguf.bits_per_weight,
        types=dict(Counter(tensor.tensor_type.name for tensor in gguf.tensors).most_common()),
        provenance=provenance,
    )


def lines(inspected: Inspected) -> list[tuple[str, str]]:
    """Return (label, value) pairs that describe the file, for people."""
    types = ", ".join(f"{count} {name}" for name, count in inspected.types.items())
    size, parameters = inspected.size_bytes / 1e6, inspected.n_parameters / 1e6
    rows = [
        ("file", f"{inspected.path} ({size:.0f} MB)"),
        ("model", f"{inspected.name or 'without a name'}, {inspected.architecture}, {parameters:.0f} M weights"),
        ("stored as", f"{types}; {inspected.bits_per_weight:.2f} bits per weight"),
    ]
    if inspected.provenance is None:
        return [*rows, ("made by", "another tool, which left no description")]
    recipe, outcome = inspected.provenance.recipe, inspected.provenance.outcome
    revision = f", revision {recipe.source.revision}" if recipe.source.revision else ""
    rows += [
        ("made from", f"{recipe.source.name}{revision}"),
        *((f"  {file}", f"sha256 {sha256}") for file, sha256 in recipe.source.weights_sha256.items()),
        ("with", ", ".join(f"{name} {version}" for name, version in inspected.provenance.versions.items())),
        ("converter", recipe.llama_cpp),
    ]
    if recipe.smoothing is None or outcome is None:
        return [*rows, ("smoothing", "none: plain")]
    return [*rows, *_smoothing(recipe.smoothing), *_outcome(outcome)]


def _outcome(outcome: SmoothingOutcome) -> Iterator[tuple[str, str]]:
    yield "chosen", outcome.chosen
    if outcome.held_out:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in outcome.held_out.kld.items())
        yield "held-out KLD", f"{shown} (emulated, {outcome.held_out.n_tokens} tokens)"
    if proof := outcome.equivalence:
        yield (
            "proof",
            f"{proof.computed_in} logits differ by at most {proof.max_abs_logit_difference:.2g} of a range of "
            f"{proof.logit_range:.3g}, on {proof.n_tokens} unseen tokens",
        )
    for kind in dict.fromkeys(fold.kind for fold in outcome.alphas):
        alphas = Counter(fold.alpha for fold in outcome.alphas if fold.kind == kind)
        shown = ", ".join(
            f"{'not folded' if alpha is None else f'{alpha:g}'} x{count}"
            for alpha, count in sorted(alphas.items(), key=lambda item: -1 if item[0] is None else item[0])
        )
        yield f"alpha, {kind}", shown


def _smoothing(settings: Smoothing) -> list[tuple[str, str]]:
    auto = settings.alpha
    alpha = (
        f"auto, for {auto.quantisation} on {auto.kernel}"
        if isinstance(auto, AutoAlpha)
        else ", ".join(f"{kind} {value:g}" for kind, value in auto.items())
    )
    folds = ", ".join((*settings.folds, *(["rotate"] if settings.rotate else [])))
    return [
        ("smoothing", f"alpha {alpha}; folds {folds}"),
        (
            "calibrated on",
            f"{settings.n_samples} windows of {settings.seq_len} tokens of {settings.calibration_text} "
            f"(sha256 {settings.calibration_sha256[:16]}…), seed {settings.seed}",
        ),
    ]
