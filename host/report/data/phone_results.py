"""The results of each phone: all campaigns measured over one transport, and the best settings among their cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.report.data.rows import NOT_A_SPEED, CellRow, EvaluatedCampaign
from smoothdroid.host.results.statistics import Interval, fastest


@dataclass(frozen=True)
class PhoneResults:
    """The campaigns of one phone over one transport: Android schedules an app differently from adb's shell."""

    campaigns: list[EvaluatedCampaign]
    suffix: str = ""
    """A part of the phone's id, where another phone has the same title."""

    @property
    def title(self) -> str:
        """The phone as a reader calls it: Google Pixel 8 (zuma), over adb."""
        return self.campaigns[0].title + self.suffix

    @property
    def model(self) -> str:
        """The phone's maker and model."""
        return self.campaigns[0].campaign.phone.model

    @property
    def soc(self) -> str:
        """The SoC, as the phone calls it."""
        return self.campaigns[0].campaign.phone.soc

    @property
    def emulated(self) -> bool:
        """True if the phone is emulated; its tokens/s then say nothing about a phone."""
        return self.campaigns[0].campaign.phone.emulated

    @property
    def caveat(self) -> str:
        """The warning about every figure of this phone; empty for a real phone."""
        return NOT_A_SPEED if self.emulated else ""

    @property
    def memory_mb(self) -> int:
        """The phone's memory in MiB."""
        return self.campaigns[0].campaign.phone.memory_mb

    @property
    def models(self) -> dict[str, Artifact]:
        """The models of the plans, by their hashes."""
        return {model.sha256: model for evaluated in self.campaigns for model in evaluated.campaign.plan.models}

    @property
    def rows(self) -> list[CellRow]:
        """The cells of all campaigns."""
        return [row for evaluated in self.campaigns for row in evaluated.rows]

    @cached_property
    def best_settings(self) -> list[BestSetting]:
        """The best setting of each model in each test that has a valid one."""
        return list(_best_settings(self.rows))


@dataclass(frozen=True)
class BestSetting:
    """The fastest valid setting of a model in one test."""

    row: CellRow
    rate: Interval
    """Tokens/s; the interval accounts for the choice among all valid settings."""
    alike: list[CellRow]
    """Valid settings that are not significantly slower, fastest first."""
    measured: int
    """The number of settings that were measured, valid or not."""


def by_phone(campaigns: Iterable[EvaluatedCampaign]) -> list[PhoneResults]:
    """Group campaigns by phone and transport, in the order in which these first appear."""
    members: dict[tuple[str, str], list[EvaluatedCampaign]] = {}
    for evaluated in campaigns:
        campaign = evaluated.campaign
        members.setdefault((campaign.phone.id, campaign.transport), []).append(evaluated)
    titles = Counter(group[0].title for group in members.values())
    return [
        PhoneResults(group, f" [{phone[:6]}]" if titles[group[0].title] > 1 else "")
        for (phone, _), group in members.items()
    ]


def _best_settings(rows: Iterable[CellRow]) -> Iterator[BestSetting]:
    """Yield the best setting of each model and test that has a valid cell."""
    tests: dict[tuple[str, str, str], list[CellRow]] = {}
    for row in rows:
        if not row.judged.cell.test.sustained_s:
            tests.setdefault((row.judged.cell.model_sha256, row.model, row.label), []).append(row)
    for settings in tests.values():
        valid = [row for row in settings if row.valid]
        if valid:
            best = fastest([row.judged.means for row in valid])
            alike = [valid[index] for index in best.alike]
            measured = sum(row.tokens_per_s is not None for row in settings)
            yield BestSetting(valid[best.index], best.rate, alike, measured)


def main_test(rows: Iterable[CellRow], *, of_prefill: bool) -> str | None:
    """Return the label of the test that most models have a valid cell of; among equals the longest, at least depth."""
    valid = [row for row in rows if row.valid and row.is_burst and row.is_prefill == of_prefill]
    models: dict[str, set[str]] = {}
    for row in valid:
        models.setdefault(row.label, set()).add(row.judged.cell.model_sha256)
    cells = {row.label: row.judged.cell for row in valid}

    def rank(label: str) -> tuple[int, int, int]:
        cell = cells[label]
        return len(models[label]), -cell.options.depth, cell.test.n_prompt + cell.test.n_gen

    return max(cells, key=rank, default=None)


def common_tests(phones: Sequence[PhoneResults]) -> list[str]:
    """Return the labels of the tests that more than one phone has a valid cell of."""
    labels = [{best.row.label for best in phone.best_settings} for phone in phones]
    every = dict.fromkeys(label for of_phone in labels for label in sorted(of_phone))
    return [label for label in every if sum(label in of_phone for of_phone in labels) > 1]


def rejection_reasons(rows: Iterable[CellRow]) -> list[tuple[str, int, str, str]]:
    """Return the checks that rejected cells: name, number of cells, an example, advice; most cells first."""
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for row in rows:
        for check, example, advice in _reasons(row):
            counts[check] += 1
            examples.setdefault(check, (example, advice))
    return [(check, count, *examples[check]) for check, count in counts.most_common()]


def _reasons(row: CellRow) -> list[tuple[str, str, str]]:
    where = f"{row.model} {row.test}, {row.setting}"
    if row.judged.failure:
        kind, _, cause = row.judged.failure.partition(": ")
        retry = "run the same `smoothdroid bench` again: it measures what is missing"
        return [(kind, where + (f": {cause}" if cause else ""), retry)]
    findings = {finding.check: finding for finding in reversed(row.judged.verdict.findings) if finding.invalid}
    return [(one.check, f"{where}: {one.found}", one.advice) for one in reversed(findings.values())]
