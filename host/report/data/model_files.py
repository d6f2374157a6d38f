"""Model files: the checkpoint that each was made from, the type of its matrices, and whether it was smoothed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data.rows import EvaluatedCampaign

# The names that `smoothdroid prepare` gives its files.
_PREPARED = re.compile(r"(?P<checkpoint>.+)-(?P<kind>plain|smooth)-(?P<type>f32|f16|bf16|q8_0|q4_0)")
SMOOTH = "SmoothQuant "
FP16, Q8_0, SMOOTH_Q8_0 = "FP16", "Q8_0", f"{SMOOTH}Q8_0"
MAIN_FORMATS = (FP16, Q8_0, SMOOTH_Q8_0)
"""The formats that a report shows side by side, measured or not."""


@dataclass(frozen=True)
class ModelFile:
    """A model file that was measured or evaluated."""

    name: str
    sha256: str
    size_bytes: int
    checkpoint: str
    """The checkpoint that it was made from; the file's own name where that is unknown."""
    format: str
    """FP16, SmoothQuant Q8_0; empty where it is unknown."""
    measured: bool = False
    """True if a campaign's plan has it; otherwise it was only evaluated."""

    @property
    def smooth(self) -> bool:
        """True if it was smoothed."""
        return self.format.startswith(SMOOTH)


def model_files(campaigns: Iterable[EvaluatedCampaign], evaluations: Iterable[Evaluation]) -> list[ModelFile]:
    """Return every model that was measured or evaluated, each once, by checkpoint, the largest first, plain first."""
    known: dict[str, ModelFile] = {}
    for model in (model for evaluated in campaigns for model in evaluated.campaign.plan.models):
        known.setdefault(model.sha256, replace(_of_artifact(model), measured=True))
    for evaluation in evaluations:
        for candidate in (candidate.model for candidate in evaluation.candidates):
            known.setdefault(candidate.sha256, _of_name(candidate.name, candidate.sha256, candidate.size_bytes))
    return sorted(
        known.values(), key=lambda file: (file.checkpoint, -round(file.size_bytes, -6), file.smooth, file.name)
    )


def pairs(evaluation: Evaluation, files: Iterable[ModelFile]) -> list[tuple[str, str]]:
    """Return the hashes of candidates that differ in smoothing alone, as pairs of plain and smoothed."""
    known = {file.sha256: file for file in files}
    candidates = [known[one.model.sha256] for one in evaluation.candidates if one.model.sha256 in known]
    return [
        (plain.sha256, smooth.sha256)
        for smooth in candidates
        for plain in candidates
        if smooth.smooth and plain.checkpoint == smooth.checkpoint and smooth.format == SMOOTH + plain.format
    ]


def _of_artifact(model: Artifact) -> ModelFile:
    recipe = _at(model.manifest, "recipe")
    type_, checkpoint = _at(recipe, "quantisation"), _at(_at(recipe, "source"), "name")
    if not isinstance(type_, str) or not isinstance(checkpoint, str):
        return _of_name(model.name, model.sha256, model.size_bytes)
    # `--alpha auto` writes a plain file where no smoothing was better.
    smooth = _at(recipe, "smoothing") is not None and _at(_at(model.manifest, "outcome"), "chosen") != "plain"
    return ModelFile(model.name, model.sha256, model.size_bytes, checkpoint, _format(type_, smooth=smooth))


def _of_name(name: str, sha256: str, size_bytes: int) -> ModelFile:
    if parts := _PREPARED.fullmatch(name):
        format_ = _format(parts["type"], smooth=parts["kind"] == "smooth")
        return ModelFile(name, sha256, size_bytes, parts["checkpoint"], format_)
    return ModelFile(name, sha256, size_bytes, name, "")


def _format(type_: str, *, smooth: bool) -> str:
    return (SMOOTH if smooth else "") + (FP16 if type_ == "f16" else type_.upper())


def _at(facts: Any, name: str) -> Any:  # noqa: ANN401 (a manifest may hold anything)
    return facts.get(name) if isinstance(facts, dict) else None
