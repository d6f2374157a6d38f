"""A campaign: a plan measured on one phone; only what its record lacks is measured."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from smoothdroid.device.common.errors import CommandFailed, Damaged, SmoothdroidError
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.job.cooling import Zones
from smoothdroid.device.job.outputs import Done
from smoothdroid.device.job.session import Session
from smoothdroid.device.transport.target import Progress, Target
from smoothdroid.host.bench import schedule
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.deployment import PlanFiles, deploy, task_of
from smoothdroid.host.bench.run_record import celsius_at_end, run_of
from smoothdroid.host.bench.schedule import Slot
from smoothdroid.host.results import record, repair, start_temperatures
from smoothdroid.host.results.cell import PROTOCOL_VERSION, Cell
from smoothdroid.host.results.judged_cells import is_counted
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Campaign, Run

MOST_ATTEMPTS = 3  # at a cell in one call, when the phone loses its output each time


@dataclass(frozen=True)
class CampaignEvents:
    """Callbacks for the progress of a campaign; each may be left out."""

    on_step: Callable[[str], None] = lambda step: None
    on_push: Progress = lambda done, total: None
    on_cell: Callable[[Cell, int, int], None] = lambda cell, number, total: None
    """Called before a cell: the cell, its number from 1, and how many there are to measure."""
    on_run: Callable[[Run], None] = lambda run: None
    on_warning: Callable[[str], None] = lambda text: None
    """Called with a sentence on damage on the phone, and what is lost by it."""
    on_celsius: Callable[[float], None] = lambda celsius: None
    """Called before `on_run`: the phone's hottest zone when the cell ended, in °C."""


class Shared(Protocol):
    """A plan that several equal phones work on, as one of them sees it."""

    @property
    def id(self) -> str:
        """The id of the shared plan, the same for all of its phones."""
        ...

    def units(self, finished: Collection[Cell]) -> Iterator[Collection[Cell]]:
        """Yield the cells left to this phone, unit by unit; it has measured the cells `finished` already."""
        ...


@dataclass(frozen=True)
class CampaignResult:
    """The runs of one call of a campaign, and where they are recorded."""

    folder: Path
    measured: list[Run]
    failed: list[Run]
    reused: int
    """Cells that were already measured before the call."""


def conduct(
    plan: Plan,
    session: Session,
    phone: Phone,
    binaries: Binaries,
    results_root: Path,
    events: CampaignEvents | None = None,
    shared: Shared | None = None,
) -> CampaignResult:
    """Measure what is missing of `plan`, one folder below `results_root`; of a `shared` plan, this phone's share.

    The phone works by itself: whatever ends this call, a later one continues or collects its job. Ctrl-C ends the job
    on the phone too. Output that the phone lost or damaged is measured again, a few times. Raises TargetLost when the
    phone is gone, PhoneBusy when it runs another job, BadInput when the record is damaged or another process writes
    it, Damaged when all else was measured and the phone lost the output of a cell each time.
    """
    events = events or CampaignEvents()
    transport = session.target.kind
    names = {cell: cell.fingerprint(phone.id, transport, binaries.id) for cell in plan.cells()}
    campaign = _campaign(plan, session.target, phone, binaries, names.values(), shared.id if shared else "")
    folder = results_root / f"{_slug(phone.model)}-{campaign.transport}-{campaign.id}"
    with record.alone(folder):
        if damaged := repair.repair_campaign(folder):
            events.on_warning(damaged)
        if (folder / record.CAMPAIGN).exists():
            campaign = record.read_campaign(folder)
        else:
            record.write_campaign(folder, campaign)
        for damaged in repair.repair_runs(folder):
            events.on_warning(damaged)
        return _Conductor(campaign, plan, names, folder, session, events).run(binaries, shared)


def finished(folder: Path) -> set[Cell]:
    """Return the cells of a recorded campaign that need no further run. Raises BadInput for a damaged record."""
    campaign, runs = record.read_campaign(folder), record.read_runs(folder)
    plan = campaign.plan
    names = {cell: cell.fingerprint(campaign.phone.id, campaign.transport, campaign.build_id) for cell in plan.cells()}
    return schedule.finished(schedule.Order(plan, names), runs, lambda run: is_counted(folder, campaign, run))


class _Conductor:
    """One call of a campaign: the record on the workstation, the session on the phone."""

    def __init__(
        self,
        campaign: Campaign,
        plan: Plan,
        names: dict[Cell, str],
        folder: Path,
        session: Session,
        events: CampaignEvents,
    ) -> None:
        self._campaign, self._plan, self._folder, self._session, self._events = campaign, plan, folder, session, events
        self._names = names
        self._cells = {name: cell for cell, name in self._names.items()}
        self._order = schedule.Order(plan, self._names)
        self._runs = record.read_runs(folder)
        self._new: list[Run] = []
        self._counted: dict[tuple[str, str, int], bool] = {}
        self._lost: Counter[str] = Counter()
        """The number of jobs of this call that ended without usable output of a task, by task."""

    def run(self, binaries: Binaries, shared: Shared | None) -> CampaignResult:
        """Continue the jobs that an earlier call left on the phone, then measure what is missing."""
        reused = len(self._finished())
        prefix = f"{self._campaign.id}-{self._campaign.token}-"
        self._continue_jobs(prefix)
        files: PlanFiles | None = None
        cooling, zones = self._plan.protocol.cooling, None
        for cells in shared.units(self._finished()) if shared else [self._names]:
            while slots := self._due(cells):
                job = prefix + secrets.token_hex(3)
                self._session.refuse_other_job(job)
                # Before anything is sent: hashing a model warms a phone.
                zones = zones or (self._start_zones() if cooling else None)
                files = files or self._session.retry(partial(self._deploy, binaries))
                tasks = [task_of(slot, files) for slot in slots]
                self._work_off(job, partial(self._session.start, job, tasks, cooling, zones))
                recorded = {schedule.task(run.fingerprint, run.round) for run in self._new if run.job == job}
                self._lost.update(slot.task for slot in slots if slot.task not in recorded)
        self._check_lost()
        measured = [run for run in self._new if run.failure is None]
        return CampaignResult(self._folder, measured, [run for run in self._new if run.failure], reused)

    def _continue_jobs(self, prefix: str) -> None:
        left = [job for job in self._session.jobs() if job.startswith(prefix)]
        running = self._session.running_job() if left else None
        for job in sorted(left, key=lambda job: job != running):  # no other can be worked on before
            self._events.on_step(f"continuing {job}, which an earlier call left on the phone")
            self._continue(job)

    def _deploy(self, binaries: Binaries, target: Target) -> PlanFiles:
        return deploy(self._plan, target, binaries, self._events.on_step, self._events.on_push)

    def _start_zones(self) -> Zones:
        zones = start_temperatures.zones(self._folder, self._session)
        for zone in zones.stuck:
            self._events.on_step(f"{zone} is stuck at {zone.celsius:.0f} °C, far above all others: not waited for")
        return zones

    def _due(self, cells: Collection[Cell]) -> list[Slot]:
        """Return the slots of `cells`, without cells that failed or were lost too often in this call."""
        given_up = {run.fingerprint for run in self._new if run.failure} | self._given_up()
        given_up |= self._cells.keys() - {self._names[cell] for cell in cells}
        return schedule.due(self._order, [*self._runs, *self._new], given_up, self._is_counted)

    def _finished(self) -> set[Cell]:
        return schedule.finished(self._order, [*self._runs, *self._new], self._is_counted)

    def _is_counted(self, run: Run) -> bool:
        key = run.job, run.fingerprint, run.round
        if key not in self._counted:
            self._counted[key] = is_counted(self._folder, self._campaign, run)
        return self._counted[key]

    def _given_up(self) -> set[str]:
        return {task.rpartition("-")[0] for task, times in self._lost.items() if times >= MOST_ATTEMPTS}

    def _check_lost(self) -> None:
        if lost := self._given_up():
            raise Damaged(
                self._session.target.name,
                f"the phone lost or damaged the output of {len(lost)} of {len(self._cells)} cells {MOST_ATTEMPTS} "
                f"times, and they are not measured; the others are recorded in {self._folder}. Its storage may be "
                "failing: restart the phone, free some space, and run the same command again",
            )

    def _continue(self, job: str) -> None:
        """Collect a job of an earlier call; one that cannot be continued on the phone does not stop this call."""

        def resume() -> None:
            with suppress(CommandFailed):  # _work_off collects what is there, and raises it then
                self._session.resume(job)

        try:
            self._work_off(job, resume)
        except CommandFailed as error:
            self._events.on_warning(f"{job} cannot be continued, and what is missing of it is measured again: {error}")
            self._remove(job)

    def _work_off(self, job: str, begin: Callable[[], None]) -> None:
        """Run a job on the phone, record the runs as they end, and remove it. Ctrl-C always ends it on the phone."""
        try:
            with suppress(Damaged):  # _collect reports the damage
                begin()
            self._collect(job)
            self._remove(job)
        except KeyboardInterrupt:
            self._stop(job)
            raise

    def _collect(self, job: str) -> None:
        known = {schedule.task(run.fingerprint, run.round) for run in self._runs if run.job == job}
        to_come = [name for name in self._session.tasks(job) if name not in known]
        self._announce(to_come, 0)
        following = self._session.follow(job, known=known, on_damage=self._events.on_warning)
        for number, done in enumerate(following, 1):
            if run := self._recorded(job, done):
                self._new.append(run)
                if (celsius := celsius_at_end(done)) is not None:
                    self._events.on_celsius(celsius)
                self._events.on_run(run)
            self._announce(to_come, number)

    def _remove(self, job: str) -> None:
        try:
            self._session.remove(job)
        except CommandFailed as error:  # its runs are recorded, and nothing is measured twice
            self._events.on_warning(f"{job} stays on the phone: {error}")

    def _stop(self, job: str) -> None:
        with suppress(KeyboardInterrupt):  # the callbacks of a phone's thread raise it again and again
            self._events.on_step(f"ending the job on {self._session.target.name}")
        try:
            self._session.stop(job)
        except SmoothdroidError as error:
            self._events.on_warning(f"{job} may still run on the phone: it could not be stopped: {error}")

    def _recorded(self, job: str, done: Done) -> Run | None:
        name, _, number = done.ended.cell.rpartition("-")
        if name not in self._cells or not number.isdecimal():
            self._events.on_warning(f"{job} has a cell {done.ended.cell}, which is not of this campaign: left out")
            return None
        run = run_of(job, done, self._cells[name], name, int(number))
        record.append(self._folder, run, done.raw_samples)
        return run

    def _announce(self, to_come: list[str], done: int) -> None:
        """Report the cell that begins when `done` of the tasks to come have ended."""
        if done < len(to_come) and (cell := self._cells.get(to_come[done].rpartition("-")[0])):
            self._events.on_cell(cell, done + 1, len(to_come))


def _campaign(
    plan: Plan, target: Target, phone: Phone, binaries: Binaries, names: Collection[str], share: str
) -> Campaign:
    identity = [*names, share] if share else list(names)
    return Campaign(
        id=hashlib.sha256(" ".join(sorted(identity)).encode()).hexdigest()[:8],
        started_at=datetime.now(UTC),
        smoothdroid=f"{version('smoothdroid')}, protocol {PROTOCOL_VERSION}",
        target=target.name,
        transport=target.kind,
        phone=phone,
        build_id=binaries.id,
        build_isa=binaries.isa,
        build_commit=binaries.commit,
        build_tools={tool: sha256 for tool, (_, sha256) in binaries.tools.items()},
        build_reason=binaries.reason,
        requested=binaries.requested,
        plan=plan,
        token=secrets.token_hex(4),
        share=share,
    )


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in name.lower()).split())[:40] or "phone"
