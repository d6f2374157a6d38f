"""The evaluated cells of a campaign: each with its counted and rejected runs, and its verdict.

Verdicts are computed when results are read, from the samples: a check that is added later applies to old results too.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from smoothdroid.device.telemetry.samples import Observation, Sample
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.checks import OF_A_CELL, OF_A_RUN, REMARKS, Verdict, judge, single
from smoothdroid.host.results.finding import Finding, Measured
from smoothdroid.host.results.record import Campaign, Run, observation
from smoothdroid.host.results.statistics import Interval, interval


@dataclass(frozen=True)
class Judged:
    """An evaluated cell of a campaign."""

    cell: Cell
    counted: list[Run] = field(default_factory=list)
    """The measured runs that count, in the order of their rounds."""
    rejected: list[Run] = field(default_factory=list)
    """The measured runs that were rejected: shown as such, never averaged in."""
    failure: str = ""
    """The reason for a missing measurement."""
    verdict: Verdict = field(default_factory=lambda: Verdict([]))
    """The verdict of the counted runs; without any, that of the rejected ones."""
    joules: list[float] = field(default_factory=list)
    """Energy per token of the whole phone, one value for each process; empty where the battery does not show it."""

    @property
    def runs(self) -> list[Run]:
        """The runs whose values are shown: the counted ones, or the rejected ones where none counts."""
        return self.counted or self.rejected

    @property
    def rates(self) -> list[float]:
        """Tokens/s of every repetition that is shown."""
        return [rate for run in self.runs for rate in run.tokens_per_s]

    @property
    def means(self) -> list[float]:
        """Mean tokens/s of every process that is shown: the values that statistics are made of."""
        return [run.mean for run in self.runs]

    @property
    def joules_per_token(self) -> Interval | None:
        """Energy per token of the whole phone on battery, over processes; None where it is not known."""
        return interval(self.joules) if self.joules else None


def judge_all(folder: Path, campaign: Campaign, runs: Iterable[Run], damage: list[str] | None = None) -> list[Judged]:
    """Return the evaluated cells of a campaign, in the order of its plan.

    Raises BadInput when samples are damaged; with a list for the damage, they are named there and count as missing.
    """
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.fingerprint, []).append(run)
    cells = {cell: by_name.get(_name(campaign, cell), []) for cell in campaign.plan.cells()}
    measured = {cell: latest for cell, tried in cells.items() if (latest := _latest(tried))}
    medians = _medians(measured)
    return [
        _judged(folder, campaign, cell, measured[cell], _neighbours(cell, medians), damage)
        if cell in measured
        else Judged(cell, failure=_why_not(campaign, cell, tried, cells))
        for cell, tried in cells.items()
        if tried or not campaign.share  # a shared cell that was not tried here is another phone's
    ]


def is_counted(folder: Path, campaign: Campaign, run: Run) -> bool:
    """Return whether a measured run counts. Damaged samples count as missing; a report names them."""
    return Verdict(list(_of_a_run(run, _measured(folder, campaign, run, damage=[])))).valid


def _name(campaign: Campaign, cell: Cell) -> str:
    return cell.fingerprint(campaign.phone.id, campaign.transport, campaign.build_id)


def _latest(tried: Iterable[Run]) -> list[Run]:
    """Return the last run that measured each round."""
    rounds = {run.round: run for run in tried if run.failure is None}
    return [run for _, run in sorted(rounds.items())]


def _why_not(campaign: Campaign, cell: Cell, tried: Sequence[Run], cells: Mapping[Cell, Sequence[Run]]) -> str:
    if tried:
        return f"failed: {tried[-1].failure}"
    if cell.test.sustained_s and any(run.failure for run in cells.get(cell.burst, ())):
        return "not measured: its burst failed"
    return "not measured yet"


def _medians(measured: Mapping[Cell, Sequence[Run]]) -> dict[Cell, dict[int, float]]:
    """Return the median rate at each thread count, for all cells that differ only in their threads."""
    medians: dict[Cell, dict[int, float]] = {}
    for cell, runs in measured.items():
        rates = [rate for run in runs for rate in run.tokens_per_s]
        medians.setdefault(_any_threads(cell), {})[cell.threads] = statistics.median(rates)
    return medians


def _neighbours(cell: Cell, medians: Mapping[Cell, Mapping[int, float]]) -> dict[int, float]:
    """Return the median rates at other thread counts, all else equal."""
    return {threads: rate for threads, rate in medians[_any_threads(cell)].items() if threads != cell.threads}


def _any_threads(cell: Cell) -> Cell:
    return cell.model_copy(update={"threads": 1})


def _judged(
    folder: Path,
    campaign: Campaign,
    cell: Cell,
    runs: Sequence[Run],
    neighbours: Mapping[int, float],
    damage: list[str] | None,
) -> Judged:
    seen = [(run, _measured(folder, campaign, run, damage)) for run in runs]
    verdicts = [Verdict(list(_of_a_run(run, measured))) for run, measured in seen]
    counted = [(run, verdict) for run, verdict in zip(runs, verdicts, strict=True) if verdict.valid]
    rejected = [(run, verdict) for run, verdict in zip(runs, verdicts, strict=True) if not verdict.valid]
    shown = counted or rejected
    rates = [list(run.tokens_per_s) for run, _ in shown]
    whole = replace(seen[0][1], tokens_per_s=[r for rs in rates for r in rs], rounds=rates, neighbours=neighbours)
    findings = list(_named((shown if not counted else [*rejected, *counted]), len(runs), bool(counted)))
    # A sustained test is expected to slow down; how far is its result.
    findings += [] if cell.test.sustained_s else judge(whole, (*OF_A_CELL, single)).findings
    verdict = Verdict(findings)
    return Judged(
        cell,
        [run for run, _ in counted],
        [run for run, _ in rejected],
        verdict=verdict,
        joules=_joules([pair for pair, result in zip(seen, verdicts, strict=True) if result.valid])
        if verdict.energy and not campaign.phone.emulated
        else [],
    )


def _measured(folder: Path, campaign: Campaign, run: Run, damage: list[str] | None = None) -> Measured:
    cell = run.cell
    model = next(model for model in campaign.plan.models if model.sha256 == cell.model_sha256)
    seen = observation(folder, run, damage)
    return Measured(
        run.tokens_per_s,
        cell.threads,
        observation=_while_measured(seen, run),
        whole=seen,
        timed_s=run.measured_s,
        cpus=cell.cpus or None,
        soc=campaign.phone.soc,
        bytes_per_token=model.decode_bytes if cell.test.n_gen else None,
    )


def _while_measured(seen: Observation, run: Run) -> Observation:
    """Return the samples of the repetitions. Of loading and warm-up only the masks are kept, which are read rarely."""
    begin = run.wall_s - run.measured_s
    samples = [
        sample if sample.at_s >= begin else Sample(at_s=sample.at_s, thread_cpus=sample.thread_cpus)
        for sample in seen.samples
    ]
    return seen.model_copy(update={"samples": samples})


def _of_a_run(run: Run, measured: Measured) -> Iterator[Finding]:
    for finding in judge(measured, (*OF_A_RUN, *REMARKS)).findings:
        expected = run.cell.test.sustained_s and finding.check == "throttled"
        yield replace(finding, invalid=False) if expected else finding
    if run.waited and run.waited.too_hot:
        found = f"after {run.waited.seconds:.0f} s {run.waited} was still above the limit"
        yield Finding("began warm", found, "raise --cool-within, or --cool", invalid=False)
    if run.attempt > 1:
        found = f"measured at attempt {run.attempt}: the phone or the runner on it went down, or was stopped, before"
        yield Finding("interrupted", found, "keep the phone running and cool", invalid=False)


def _named(verdicts: Sequence[tuple[Run, Verdict]], rounds: int, any_counts: bool) -> Iterator[Finding]:
    """Yield the findings of all rounds, each once; a rejected round leaves a cell valid in which others count."""
    named: set[str] = set()
    for run, verdict in verdicts:
        for finding in verdict.findings:
            if verdict.valid or not finding.invalid:
                if finding.check not in named:
                    named.add(finding.check)
                    yield finding
            elif any_counts:
                yield replace(finding, found=f"round {run.round + 1} does not count: {finding.found}", invalid=False)
            elif finding.check not in named:
                named.add(finding.check)
                yield finding


def _joules(seen: Sequence[tuple[Run, Measured]]) -> list[float]:
    """Return the joules per token of each process whose battery was read: mean power over mean rate."""
    found = []
    for run, measured in seen:
        watts = [
            sample.battery_ma * sample.battery_mv / 1e6
            for sample in measured.observation.samples
            if sample.battery_ma is not None and sample.battery_mv is not None
        ]
        if watts:
            found.append(statistics.fmean(watts) / run.mean)
    return found
