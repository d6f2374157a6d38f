"""The data of a report: campaigns and evaluations read from folders, and what cannot be read of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.evaluate.record import FILES, read_evaluation
from smoothdroid.host.report.data.memory import MemoryUse, memory_use
from smoothdroid.host.report.data.model_files import ModelFile, model_files
from smoothdroid.host.report.data.phone_results import PhoneResults, by_phone
from smoothdroid.host.report.data.predicted import PredictedSetting, predicted_settings
from smoothdroid.host.report.data.quality import Quality
from smoothdroid.host.report.data.rows import EvaluatedCampaign, evaluate_campaign
from smoothdroid.host.results.record import CAMPAIGN, campaigns_below

T = TypeVar("T")


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows; each plot and each section takes its part of it."""

    campaigns: list[EvaluatedCampaign]
    evaluations: list[Quality]
    damage: list[str]
    """Files and lines that could not be read, each with what is wrong; everything else is there."""

    @cached_property
    def phones(self) -> list[PhoneResults]:
        """The campaigns by phone and transport."""
        return by_phone(self.campaigns)

    @cached_property
    def model_files(self) -> list[ModelFile]:
        """Every model that was measured or evaluated."""
        return model_files(self.campaigns, [quality.evaluation for quality in self.evaluations])

    @cached_property
    def memory(self) -> list[tuple[PhoneResults, list[MemoryUse]]]:
        """The memory that each model took on each phone."""
        return [(phone, memory_use(phone, self.model_files)) for phone in self.phones]

    @cached_property
    def predictions(self) -> list[tuple[PhoneResults, list[PredictedSetting]]]:
        """The best settings of each phone, compared with what is predicted of them."""
        return [(phone, predicted_settings(phone)) for phone in self.phones]


def load(places: Sequence[Path]) -> ReportData:
    """Read all results at or below `places`.

    Raises BadInput for a place that holds no results, and where everything is damaged.
    """
    damage: list[str] = []
    campaigns, evaluations = _paths(places)
    evaluated = _readable(campaigns, lambda folder: evaluate_campaign(folder, damage), damage)
    read = _readable(evaluations, read_evaluation, damage)
    if not evaluated and not read:
        raise BadInput("\n".join(damage))
    return ReportData(evaluated, [Quality(one) for one in {one.id: one for one in read}.values()], damage)


def _paths(places: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders of campaigns and the files of evaluations."""
    campaigns: set[Path] = set()
    evaluations: set[Path] = set()
    for place in places:
        folders = set(campaigns_below(place))
        files = set(place.rglob(FILES)) if place.is_dir() else set()
        if not folders and not files:
            raise BadInput(
                f"{place} holds no results (no {CAMPAIGN}, no {FILES}): "
                f"measure some with `smoothdroid bench MODEL.gguf -o {place}`"
            )
        campaigns |= folders
        evaluations |= files
    return sorted(campaigns), sorted(evaluations)


def _readable(paths: Iterable[Path], read: Callable[[Path], T], damage: list[str]) -> list[T]:
    results = []
    for path in paths:
        try:
            results.append(read(path))
        except BadInput as error:
            damage.append(str(error))
    return results
