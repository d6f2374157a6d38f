"""A comparison of two sides of results: its pairs of cells, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.host.compare.by import By
from smoothdroid.host.compare.difference import Difference, Processes
from smoothdroid.host.report.data.rows import NOT_A_SPEED
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.checks import ENOUGH_PROCESSES
from smoothdroid.host.results.record import Campaign


@dataclass(frozen=True)
class Side:
    """A cell as one side measured it, in one campaign or in several."""

    folder: Path
    campaign: Campaign
    cell: Cell
    processes: Processes
    """Its valid processes."""
    remarks: list[str]
    """Findings that a reader of the ratio must know."""
    failure: str
    """The reason why there is no process; empty where there is one."""

    @property
    def cpus(self) -> str:
        """The mask by its name; `any` for none."""
        return cpu_masks.label(self.cell.cpus, self.campaign.phone.clusters)

    @property
    def name(self) -> str:
        """Model, test, setting, phone and transport, for a message."""
        cell, campaign = self.cell, self.campaign
        where = cell.threads_label + (f" on CPUs {self.cpus}" if cell.cpus else "")
        setting = ", ".join(filter(None, [where, str(cell.options)]))
        return f"{cell.model} {cell.test.name}, {setting}, {campaign.phone.model} over {campaign.transport}"


@dataclass(frozen=True)
class Pair:
    """A cell that both sides measured."""

    a: Side
    b: Side
    difference: Difference

    @property
    def remark(self) -> str:
        """Warnings about this ratio; empty for most."""
        remarks = []
        if self.a.cell.model == self.b.cell.model and self.a.cell.model_sha256 != self.b.cell.model_sha256:
            remarks.append("another file of that name")
        if self.difference.n == 1:
            remarks.append(self._too_few)
        if left := self.difference.left_out:
            whose = "1 process without a counterpart in its" if left == 1 else f"{left} processes without one in their"
            remarks.append(f"left out: {whose} round")
        elif self.difference.one_campaign and not self.difference.paired:
            remarks.append("no round counts on both sides: compared unpaired")
        for name, side in (("A", self.a), ("B", self.b)):
            remarks += [f"{name}: {remark}" for remark in side.remarks]
        return "; ".join(remarks)

    @property
    def _too_few(self) -> str:
        if self.a.cell.test.sustained_s:
            return "one process: a sustained test has no more"
        what = "one pair of processes" if self.difference.left_out else "one process"
        return f"{what}: measure with {ENOUGH_PROCESSES}"


@dataclass(frozen=True)
class ComparedResults:
    """Two sides of results, compared cell by cell."""

    a: str
    """The name of side A: a folder, or a setting and a folder."""
    b: str
    """The name of side B."""
    by: By | None
    """The setting in which the sides differ; None for two folders."""
    threshold: float
    """The tolerated slowdown as a share: 0.05."""
    pairs: list[Pair]
    only_a: list[str]
    """Cells that side B has not measured, and why."""
    only_b: list[str]
    """Cells that side A has not measured, and why."""
    damage: list[str]
    """Damaged lines and samples, which are left out."""

    @property
    def regressions(self) -> list[Pair]:
        """Pairs in which B is significantly slower, by more than the threshold."""
        return [pair for pair in self.pairs if pair.difference.regression]

    @property
    def changes(self) -> list[str]:
        """Differences between the campaigns that may explain a ratio, besides the setting that is compared."""
        sides = [(pair.a.campaign, pair.b.campaign) for pair in self.pairs if not pair.difference.paired]
        facts: dict[str, Callable[[Campaign], str]] = {
            "build": lambda c: f"{c.build_id[:8]} ({c.build_isa}, llama.cpp {c.build_commit})",
            "smoothdroid": lambda c: c.smoothdroid,
            "Android": lambda c: c.phone.android,
            "kernel": lambda c: c.phone.kernel,
        }
        if self.by:
            facts.pop(self.by.field.name, None)
        pairs = {what: list(dict.fromkeys((of(a), of(b)) for a, b in sides)) for what, of in facts.items()}
        return [f"{what}: {a} in A, {b} in B" for what, both in pairs.items() for a, b in both if a != b]

    @property
    def caveat(self) -> str:
        """A warning about every figure; empty for a real phone."""
        sides = (side for pair in self.pairs for side in (pair.a, pair.b))
        return NOT_A_SPEED if any(side.campaign.phone.emulated for side in sides) else ""
