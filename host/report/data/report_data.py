"""Folders -> everything that a report is made of: campaigns, evaluations, and what of them cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.evaluate.record import FILES, Evaluation, read_evaluation
from smoothdroid.host.report.data.rows import Section, section
from smoothdroid.host.results.record import CAMPAIGN, campaigns_below

Found = TypeVar("Found")


@dataclass(frozen=True)
class Inputs:
    """What was found."""

    sections: list[Section]
    evaluations: list[Evaluation]
    damage: list[str]
    """Files and lines that could not be read, each with what is wrong. All else is there."""


def load(places: Sequence[Path]) -> Inputs:
    """All that lies at or below `places`. Raises BadInput for a place that holds nothing, and where all is damaged."""
    damage: list[str] = []
    campaigns, evaluations = _found(places)
    sections = _readable(campaigns, lambda folder: section(folder, damage), damage)
    read = _readable(evaluations, read_evaluation, damage)
    if not sections and not read:
        raise BadInput("\n".join(damage))
    return Inputs(sections, list({found.id: found for found in read}.values()), damage)


def _found(places: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    campaigns: set[Path] = set()
    evaluations: set[Path] = set()
    for place in places:
        here = set(campaigns_below(place))
        quality = set(place.rglob(FILES)) if place.is_dir() else set()
        if not here and not quality:
            raise BadInput(
                f"{place} holds no results (no {CAMPAIGN}, no {FILES}); "
                f"`smoothdroid bench MODEL.gguf -o {place}` makes some"
            )
        campaigns |= here
        evaluations |= quality
    return sorted(campaigns), sorted(evaluations)


def _readable(paths: Iterable[Path], read: Callable[[Path], Found], damage: list[str]) -> list[Found]:
    found = []
    for path in paths:
        try:
            found.append(read(path))
        except BadInput as error:
            damage.append(str(error))
    return found
