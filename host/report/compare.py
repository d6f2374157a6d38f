"""Two folders of results, cell by cell: faster, slower, or not significant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.errors import BadInput
from host.bench.cell import Cell
from host.bench.judged import judge_all
from host.bench.results import RUNS, Campaign, Run, find_campaigns, read_campaign, read_runs
from host.bench.stats import CONFIDENCE, Comparison, Interval, compare, interval
from host.bench.verdict import ENERGY, NOT_CHECKED
from host.report.rows import NOT_A_SPEED

Key = tuple[str, str, str]
"""Phone, way and setting: what makes cells of two folders the same question. Build and model file may differ."""

NOT_THE_QUESTION: Any = {
    "model_sha256": True,
    "protocol": {"repetitions": True, "rounds": True, "until": True, "budget_s": True, "seed": True},
}
"""How often something was measured is not what was measured; how cool the phone was is."""


@dataclass(frozen=True)
class Side:
    """A cell in one folder."""

    folder: Path
    campaign: Campaign
    cell: Cell
    runs: list[Run]
    """Those that measured it and are believed, of each campaign that asked the very same."""
    remarks: list[str]
    """What a reader must know before believing them."""
    failure: str
    """Why there is none, or nothing."""

    @property
    def rates(self) -> list[float]:
        """Tokens/s of every repetition."""
        return [rate for run in self.runs for rate in run.tokens_per_s]

    @property
    def name(self) -> str:
        """For a message: what, and on which phone."""
        cell, campaign = self.cell, self.campaign
        return f"{cell.model} {cell.test.name}, {cell.threads} threads, {campaign.phone.model} over {campaign.way}"


@dataclass(frozen=True)
class Pair:
    """A cell that both folders measured."""

    a: Side
    b: Side
    threshold: float

    @property
    def tokens_per_s(self) -> tuple[Interval, Interval]:
        """A's mean and B's."""
        return interval(self.a.rates), interval(self.b.rates)

    @property
    def comparison(self) -> Comparison:
        """B over A."""
        return compare(self.a.rates, self.b.rates)

    @property
    def regression(self) -> bool:
        """B is slower, by more than the threshold, and not by chance."""
        return self.comparison.answer == "slower" and self.comparison.ratio.mean < 1 - self.threshold

    @property
    def remark(self) -> str:
        """What a reader must know before believing the ratio, or nothing."""
        remarks = []
        if self.a.cell.model_sha256 != self.b.cell.model_sha256:
            remarks.append("another file of that name")
        for name, side in (("A", self.a), ("B", self.b)):
            remarks += [f"{name}: {remark}" for remark in side.remarks]
        return "; ".join(remarks)


@dataclass(frozen=True)
class Compared:
    """Two folders of results."""

    a: Path
    b: Path
    threshold: float
    """As a share: 0.05."""
    pairs: list[Pair]
    only_a: list[str]
    """Cells that B has not measured, in words."""
    only_b: list[str]

    @property
    def regressions(self) -> list[Pair]:
        """What a change must not bring."""
        return [pair for pair in self.pairs if pair.regression]

    @property
    def changes(self) -> list[str]:
        """What is not the same for both, so that the ratios may come of it."""
        sides = [(pair.a.campaign, pair.b.campaign) for pair in self.pairs]
        told: dict[str, Callable[[Campaign], str]] = {
            "build": lambda c: f"{c.build_id[:8]} ({c.build_isa}, llama.cpp {c.build_commit})",
            "smoothdroid": lambda c: c.smoothdroid,
            "Android": lambda c: c.phone.android,
            "kernel": lambda c: c.phone.kernel,
        }
        pairs = {what: list(dict.fromkeys((tell(a), tell(b)) for a, b in sides)) for what, tell in told.items()}
        return [f"{what}: {a} in A, {b} in B" for what, both in pairs.items() for a, b in both if a != b]

    @property
    def caveat(self) -> str:
        """What holds for every figure, or nothing."""
        sides = (side for pair in self.pairs for side in (pair.a, pair.b))
        return NOT_A_SPEED if any(side.campaign.phone.emulated for side in sides) else ""


def load(a: Path, b: Path, threshold: float) -> Compared:
    """Read both folders and pair their cells.

    Raises BadInput where there are no results, where one folder answers the same question twice in different ways,
    and where nothing can be compared: other phones, other ways, or no cell measured in both.
    """
    ours, theirs = _sides(a), _sides(b)
    common = [key for key in ours if key in theirs and ours[key].runs and theirs[key].runs]
    if not common:
        raise BadInput(f"{a} and {b} cannot be compared: {_why_not(ours.values(), theirs.values())}")
    pairs = [Pair(ours[key], theirs[key], threshold) for key in common]
    return Compared(a, b, threshold, pairs, _missing(ours, theirs), _missing(theirs, ours))


def _sides(place: Path) -> dict[Key, Side]:
    sides: dict[Key, Side] = {}
    for folder in find_campaigns([place]):
        campaign = read_campaign(folder)
        for judged in judge_all(folder, campaign, read_runs(folder)):
            cell, found = judged.cell, judged.verdict.findings
            setting = cell.model_dump_json(exclude=NOT_THE_QUESTION)
            told = [finding.found for finding in found if finding.check not in (ENERGY, NOT_CHECKED)]
            failure = judged.failure or ("" if judged.counted else f"not to be believed: {'; '.join(told)}")
            side = Side(folder, campaign, cell, judged.counted, told, failure)
            if side.runs and not (side.rates and all(0 < rate < math.inf for rate in side.rates)):
                raise BadInput(f"{folder / RUNS} is damaged: {side.name}: its rates are {side.rates}")
            key = (campaign.phone.id, campaign.way, setting)
            sides[key] = _joined(sides[key], side) if key in sides else side
    return sides


def _joined(one: Side, other: Side) -> Side:
    """The same cell in two campaigns of a folder, as when a sweep was asked for again with more threads."""
    if not one.runs or not other.runs:
        return other if other.runs else one
    alike = [(side.campaign.build_id, side.cell.model_sha256) for side in (one, other)]
    if alike[0] != alike[1]:
        raise BadInput(
            f"{one.name}: {one.folder} and {other.folder} measured it with different builds or model files; "
            "name one of these folders"
        )
    remarks = list(dict.fromkeys([*one.remarks, *other.remarks]))
    return Side(other.folder, other.campaign, other.cell, [*one.runs, *other.runs], remarks, "")


def _missing(here: dict[Key, Side], there: dict[Key, Side]) -> list[str]:
    """What only `here` measured, and why the other did not."""
    return [
        f"{side.name}: " + (there[key].failure if key in there else "not asked for")
        for key, side in here.items()
        if side.runs and not (key in there and there[key].runs)
    ]


def _why_not(ours: Iterable[Side], theirs: Iterable[Side]) -> str:
    a, b = ([side for side in sides if side.runs] for sides in (ours, theirs))
    for name, measured in (("A", a), ("B", b)):
        if not measured:
            return f"{name} has no measured cell"
    if not {side.campaign.phone.id for side in a} & {side.campaign.phone.id for side in b}:
        phones = (", ".join(sorted({side.campaign.phone.model for side in sides})) for sides in (a, b))
        return "A was measured on {}, B on {}, another phone; a ratio of two phones is not of a change".format(*phones)
    ways = [sorted({side.campaign.way for side in sides}) for sides in (a, b)]
    if not set(ways[0]) & set(ways[1]):
        return (
            f"A was measured over {', '.join(ways[0])}, B over {', '.join(ways[1])}, where Android schedules otherwise"
        )
    return f"no cell was measured in both; A has {a[0].name}, B has {b[0].name}"


def as_facts(compared: Compared) -> dict[str, Any]:
    """For a program to read; what is not finite, which JSON has not, becomes null."""
    return {
        "a": str(compared.a),
        "b": str(compared.b),
        "threshold": compared.threshold,
        "confidence": CONFIDENCE,
        "caveat": compared.caveat,
        "changes": compared.changes,
        "regressions": len(compared.regressions),
        "cells": [_pair_facts(pair) for pair in compared.pairs],
        "only_a": compared.only_a,
        "only_b": compared.only_b,
    }


def _pair_facts(pair: Pair) -> dict[str, Any]:
    a, b = pair.tokens_per_s
    comparison = pair.comparison
    return {
        "phone": pair.a.campaign.phone.model,
        "way": pair.a.campaign.way,
        **pair.a.cell.model_dump(mode="json", exclude={"model_sha256", "protocol", "test"}),
        "test": pair.a.cell.test.name,
        "a": _interval_facts(a),
        "b": _interval_facts(b),
        "ratio": _interval_facts(comparison.ratio),
        "answer": comparison.answer,
        "regression": pair.regression,
        "remark": pair.remark,
    }


def _interval_facts(found: Interval) -> dict[str, float | None]:
    values = {"value": found.mean, "low": found.low, "high": found.high}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {**finite, "repetitions": found.n}
