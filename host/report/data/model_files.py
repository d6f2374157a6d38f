"""What a model file is a form of: the checkpoint, how its matrices are held, and whether it was smoothed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data.report_data import Inputs

# How `smoothdroid prepare` names what it makes.
_NAMED = re.compile(r"(?P<source>.+)-(?P<kind>plain|smooth)-(?P<type>f32|f16|bf16|q8_0|q4_0)")
SMOOTH = "SmoothQuant "
FP16, Q8_0, SMOOTH_Q8_0 = "FP16", "Q8_0", f"{SMOOTH}Q8_0"
ASKED_FOR = (FP16, Q8_0, SMOOTH_Q8_0)
"""The forms that a reader wants to see side by side, measured or not."""


@dataclass(frozen=True)
class Form:
    """A model file, by its hash."""

    name: str
    sha256: str
    size_bytes: int
    source: str
    """The checkpoint; the file's own name where nothing tells."""
    label: str
    """FP16, SmoothQuant Q8_0; empty where nothing tells."""
    measured: bool = False
    """Whether a campaign's plan has it; else it was only evaluated."""

    @property
    def smooth(self) -> bool:
        """Whether it was smoothed."""
        return self.label.startswith(SMOOTH)


def forms(inputs: Inputs) -> list[Form]:
    """Every model that was measured or evaluated, each once, by source and then from the finest to the smoothed."""
    known: dict[str, Form] = {}
    for model in (model for section in inputs.sections for model in section.campaign.plan.models):
        known.setdefault(model.sha256, replace(_of_artifact(model), measured=True))
    for found in inputs.evaluations:
        for evaluated in (candidate.model for candidate in found.candidates):
            form = _of_name(evaluated.name, evaluated.sha256, evaluated.size_bytes)
            known.setdefault(evaluated.sha256, form)
    return sorted(known.values(), key=lambda form: (form.source, -round(form.size_bytes, -6), form.smooth, form.name))


def pairs(found: Evaluation, known: Iterable[Form]) -> list[tuple[str, str]]:
    """The hashes of candidates of one evaluation that differ in smoothing alone: plain, smoothed."""
    forms = {form.sha256: form for form in known}
    evaluated = [forms[candidate.model.sha256] for candidate in found.candidates if candidate.model.sha256 in forms]
    return [
        (plain.sha256, smooth.sha256)
        for smooth in evaluated
        for plain in evaluated
        if smooth.smooth and plain.source == smooth.source and smooth.label == SMOOTH + plain.label
    ]


def _of_artifact(model: Artifact) -> Form:
    named = _of_name(model.name, model.sha256, model.size_bytes)
    recipe = _at(model.manifest, "recipe")
    kind, source = _at(recipe, "quantisation"), _at(_at(recipe, "source"), "name")
    if not isinstance(kind, str) or not isinstance(source, str):
        return named
    # Auto writes plain where no smoothing was better.
    smooth = _at(recipe, "smoothing") is not None and _at(_at(model.manifest, "outcome"), "chosen") != "plain"
    return Form(model.name, model.sha256, model.size_bytes, source, _label(kind, smooth=smooth))


def _of_name(name: str, sha256: str, size_bytes: int) -> Form:
    if told := _NAMED.fullmatch(name):
        return Form(name, sha256, size_bytes, told["source"], _label(told["type"], smooth=told["kind"] == "smooth"))
    return Form(name, sha256, size_bytes, name, "")


def _label(kind: str, *, smooth: bool) -> str:
    return (SMOOTH if smooth else "") + (FP16 if kind == "f16" else kind.upper())


def _at(facts: Any, name: str) -> Any:  # noqa: ANN401 (a manifest may hold anything)
    return facts.get(name) if isinstance(facts, dict) else None
