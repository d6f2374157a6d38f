"""A plan against one phone: what is missing is measured, what is there is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from smoothdroid.device.common.errors import CommandFailed, Damaged, SmoothdroidError
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.info.required_tools import TASKSET, require
from smoothdroid.device.job.cooling import Zones
from smoothdroid.device.job.session import Done, Session, Task
from smoothdroid.device.store import upload
from smoothdroid.device.store.program import File, Installed, install
from smoothdroid.device.transport.target import Progress, Target
from smoothdroid.host.bench import command_lines, schedule
from smoothdroid.host.bench.schedule import Slot
from smoothdroid.host.llamacpp.exit_causes import why_it_died
from smoothdroid.host.llamacpp.kernel_log import parse_kernels
from smoothdroid.host.llamacpp.tool_output import NoNumber, parse_bench, parse_completion
from smoothdroid.host.results import record, repair, start_temperatures
from smoothdroid.host.results.cell import PROTOCOL_VERSION, Cell
from smoothdroid.host.results.judged_cells import is_believed
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Campaign, Run

CELL_TIMEOUT_S = 3600
MOST_TRIES = 3  # of a cell in one call, when the phone loses its output each time
SLOWED_DOWN = 4  # a phone that gets so much slower than its burst in a sustained test has stopped working


@dataclass(frozen=True)
class Binaries:
    """The build that a campaign runs, as far as it matters here."""

    id: str
    isa: str
    commit: str
    tools: dict[str, File]
    beside: Sequence[File] = ()
    """What must lie beside each tool on the phone."""
    reason: str = ""
    """Why this build and no better one."""
    requested: record.Requested = field(default_factory=record.Requested)


@dataclass(frozen=True)
class CampaignEvents:
    """Who wants to know how it goes; each may be left out."""

    on_step: Callable[[str], None] = lambda step: None
    on_push: Progress = lambda done, total: None
    on_cell: Callable[[Cell, int, int], None] = lambda cell, number, total: None
    """Before a cell: the cell, its number from 1, and how many there are to measure."""
    on_run: Callable[[Run], None] = lambda run: None
    on_warning: Callable[[str], None] = lambda text: None
    """What is damaged on the phone, and what is lost by it."""
    on_celsius: Callable[[float], None] = lambda celsius: None
    """Before `on_run`: the phone's hottest zone, when the cell ended."""


class Shared(Protocol):
    """A plan that several equal phones work on."""

    @property
    def id(self) -> str:
        """The same for all of them."""
        ...

    def units(self, finished: Collection[Cell]) -> Iterator[Collection[Cell]]:
        """What is left to this phone, one after the other. `finished`: what it has measured already."""
        ...


@dataclass(frozen=True)
class CampaignResult:
    """What became of a campaign."""

    folder: Path
    measured: list[Run]
    failed: list[Run]
    reused: int
    """Cells that had been measured before."""


def run_campaign(
    plan: Plan,
    target: Target,
    phone: Phone,
    binaries: Binaries,
    results_root: Path,
    watch: CampaignEvents | None = None,
    *,
    reopen: Callable[[], Target] | None = None,
) -> CampaignResult:
    """Measure what is missing of `plan`, one folder below `results_root`. With `reopen`, a lost phone is waited for.

    The phone works alone: whatever ends this call, a second one takes up what goes on there or lies there. Ctrl-C
    ends the work on the phone too. What the phone lost or damaged is measured again, a few times. Raises TargetLost
    when the phone is gone, PhoneBusy when it measures something else, BadInput when the record is damaged or another
    process writes it, Damaged when all else was measured and the phone lost the output of a cell each time.
    """
    with closing(Session(target, reopen=reopen)) as session:
        return conduct(plan, session, phone, binaries, results_root, watch)


def conduct(
    plan: Plan,
    session: Session,
    phone: Phone,
    binaries: Binaries,
    results_root: Path,
    watch: CampaignEvents | None = None,
    shared: Shared | None = None,
) -> CampaignResult:
    """As `run_campaign`, in a session of the caller's; of what is `shared`, only what is left to this phone."""
    watch = watch or CampaignEvents()
    transport = session.target.kind
    names = {cell: cell.fingerprint(phone.id, transport, binaries.id) for cell in plan.cells()}
    campaign = _campaign(plan, session.target, phone, binaries, names.values(), shared.id if shared else "")
    folder = results_root / f"{_slug(phone.model)}-{campaign.transport}-{campaign.id}"
    with record.alone(folder):
        if damaged := repair.repair_campaign(folder):
            watch.on_warning(damaged)
        if (folder / record.CAMPAIGN).exists():
            campaign = record.read_campaign(folder)
        else:
            record.write_campaign(folder, campaign)
        for damaged in repair.repair_runs(folder):
            watch.on_warning(damaged)
        return _Conduct(campaign, plan, names, folder, session, watch).to_the_end(binaries, shared)


def finished(folder: Path) -> set[Cell]:
    """The cells of a recorded campaign that need no further run. Raises BadInput when the record is damaged."""
    campaign, runs = record.read_campaign(folder), record.read_runs(folder)
    plan = campaign.plan
    names = {cell: cell.fingerprint(campaign.phone.id, campaign.transport, campaign.build_id) for cell in plan.cells()}
    return schedule.finished(schedule.Order(plan, names), runs, lambda run: is_believed(folder, campaign, run))


class _Conduct:
    """One call of a campaign: the record on this side, the session on the other."""

    def __init__(
        self,
        campaign: Campaign,
        plan: Plan,
        names: dict[Cell, str],
        folder: Path,
        session: Session,
        watch: CampaignEvents,
    ) -> None:
        self._campaign, self._plan, self._folder, self._session, self._watch = campaign, plan, folder, session, watch
        self._names = names
        self._cells = {name: cell for cell, name in self._names.items()}
        self._order = schedule.Order(plan, self._names)
        self._runs = record.read_runs(folder)
        self._new: list[Run] = []
        self._believed: dict[tuple[str, str, int], bool] = {}
        self._lost: Counter[str] = Counter()
        """Task -> how many jobs of this call ended without an output of it that could be used."""

    def to_the_end(self, binaries: Binaries, shared: Shared | None) -> CampaignResult:
        """Take up what an earlier call left on the phone, then measure what is missing."""
        reused = len(self._finished())
        prefix = f"{self._campaign.id}-{self._campaign.token}-"
        left = [job for job in self._session.jobs() if job.startswith(prefix)]
        running = self._session.at_work() if left else None
        for job in sorted(left, key=lambda job: job != running):  # no other can be worked on before
            self._watch.on_step(f"continuing {job}, which an earlier call left on the phone")
            self._continue(job)
        deployed: _Deployed | None = None
        cooling, zones = self._plan.protocol.cooling, None
        for cells in shared.units(self._finished()) if shared else [self._names]:
            while turns := self._due(cells):
                job = prefix + secrets.token_hex(3)
                self._session.refuse_beside(job)
                # Before anything is sent: hashing a model warms a phone.
                zones = zones or (self._start_zones() if cooling else None)
                deployed = deployed or self._session.again(
                    lambda target: _deploy(self._plan, target, binaries, self._watch)
                )
                tasks = [_task(turn, deployed) for turn in turns]
                self._work_off(job, partial(self._session.start, job, tasks, cooling, zones))
                recorded = {schedule.task(run.fingerprint, run.round) for run in self._new if run.job == job}
                self._lost.update(turn.task for turn in turns if turn.task not in recorded)
        self._check_lost()
        measured = [run for run in self._new if run.failure is None]
        return CampaignResult(self._folder, measured, [run for run in self._new if run.failure], reused)

    def _start_zones(self) -> Zones:
        found = start_temperatures.zones(self._folder, self._session)
        for zone in found.stuck:
            self._watch.on_step(f"{zone} is stuck at {zone.celsius:.0f} °C, far above all others: not waited for")
        return found

    def _due(self, cells: Collection[Cell] | None = None) -> list[Slot]:
        """The turns of `cells`, or of all. What failed or was lost too often in this call is not tried again in it."""
        given_up = {run.fingerprint for run in self._new if run.failure} | self._given_up()
        if cells is not None:
            given_up |= self._cells.keys() - {self._names[cell] for cell in cells}
        return schedule.due(self._order, [*self._runs, *self._new], given_up, self._is_believed)

    def _finished(self) -> set[Cell]:
        return schedule.finished(self._order, [*self._runs, *self._new], self._is_believed)

    def _is_believed(self, run: Run) -> bool:
        key = run.job, run.fingerprint, run.round
        if key not in self._believed:
            self._believed[key] = is_believed(self._folder, self._campaign, run)
        return self._believed[key]

    def _given_up(self) -> set[str]:
        return {task.rpartition("-")[0] for task, times in self._lost.items() if times >= MOST_TRIES}

    def _check_lost(self) -> None:
        if lost := self._given_up():
            raise Damaged(
                self._session.target.name,
                f"the phone lost or damaged the output of {len(lost)} of {len(self._cells)} cells {MOST_TRIES} times, "
                f"and they are not measured; the others are recorded in {self._folder}. Its storage may be failing: "
                "restart the phone, free some space, and run the same command again",
            )

    def _continue(self, job: str) -> None:
        """Collect a job of an earlier call. One that the phone cannot work on any more does not stop this one."""

        def resume() -> None:
            with suppress(CommandFailed):  # what follows it collects what is there, and raises it then
                self._session.resume(job)

        try:
            self._work_off(job, resume)
        except CommandFailed as error:
            self._watch.on_warning(f"{job} cannot be continued, and what is missing of it is measured anew: {error}")
            self._remove(job)

    def _work_off(self, job: str, begin: Callable[[], None]) -> None:
        """Have the phone work on a job, record what ends, and remove it. Ctrl-C ends the work on the phone, always."""
        try:
            with suppress(Damaged):  # what follows it says so
                begin()
            self._collect(job)
            self._remove(job)
        except KeyboardInterrupt:
            self._stop(job)
            raise

    def _collect(self, job: str) -> None:
        known = {schedule.task(run.fingerprint, run.round) for run in self._runs if run.job == job}
        to_come = [name for name in self._session.tasks(job) if name not in known]
        self._say_begins(to_come, 0)
        following = self._session.follow(job, known=known, on_damage=self._watch.on_warning)
        for number, done in enumerate(following, 1):
            if run := self._recorded(job, done):
                self._new.append(run)
                if (celsius := _celsius_at_end(done)) is not None:
                    self._watch.on_celsius(celsius)
                self._watch.on_run(run)
            self._say_begins(to_come, number)

    def _remove(self, job: str) -> None:
        try:
            self._session.remove(job)
        except CommandFailed as error:  # what it brought is recorded, and nothing is measured twice
            self._watch.on_warning(f"{job} stays on the phone: {error}")

    def _stop(self, job: str) -> None:
        with suppress(KeyboardInterrupt):  # a farm's watch raises it again and again
            self._watch.on_step(f"ending the work on {self._session.target.name}")
        try:
            self._session.stop(job)
        except SmoothdroidError as error:
            self._watch.on_warning(f"{job} may still run on the phone, which did not hear that it should end: {error}")

    def _recorded(self, job: str, done: Done) -> Run | None:
        name, _, number = done.ended.cell.rpartition("-")
        if name not in self._cells or not number.isdecimal():
            self._watch.on_warning(f"{job} has a cell {done.ended.cell}, which is not of this campaign: left out")
            return None
        run = _run(job, done, self._cells[name], name, int(number))
        record.append(self._folder, run, done.raw_samples)
        return run

    def _say_begins(self, to_come: list[str], done: int) -> None:
        if done < len(to_come) and (cell := self._cells.get(to_come[done].rpartition("-")[0])):
            self._watch.on_cell(cell, done + 1, len(to_come))


def _campaign(
    plan: Plan, target: Target, phone: Phone, binaries: Binaries, names: Collection[str], share: str
) -> Campaign:
    asked = [*names, share] if share else list(names)
    return Campaign(
        id=hashlib.sha256(" ".join(sorted(asked)).encode()).hexdigest()[:8],
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


@dataclass(frozen=True)
class _Deployed:
    """Paths on the phone."""

    tools: dict[str, Installed]
    models: dict[str, str]
    """By their sha256."""


def _deploy(plan: Plan, target: Target, binaries: Binaries, watch: CampaignEvents) -> _Deployed:
    """Sends what is not there. Raises NoPhone, before anything is sent, where a tool is lacking there."""
    if any(cell.cpus for cell in plan.cells()):
        require(target, [TASKSET])
    tools, models = {}, {}
    for tool in dict.fromkeys(_tool(cell) for cell in plan.cells()):
        watch.on_step(f"deploying {tool}")
        tools[tool] = install(target, binaries.tools[tool], binaries.beside, progress=watch.on_push)
    for model in plan.models:
        watch.on_step(f"deploying {model.name}")
        models[model.sha256] = upload.ensure(target, model.path, model.sha256, progress=watch.on_push)
    return _Deployed(tools, models)


def _tool(cell: Cell) -> str:
    return "llama-completion" if cell.test.prompt else "llama-bench"


def _task(turn: Slot, deployed: _Deployed) -> Task:
    cell = turn.cell
    tool, model = deployed.tools[_tool(cell)], deployed.models[cell.model_sha256]
    argv = command_lines.command_line(tool.path, model, cell, turn.repetitions)
    return Task(turn.task, argv, _timeout_s(cell), env=tool.env, cpus=cell.cpus)


def _timeout_s(cell: Cell) -> int:
    return CELL_TIMEOUT_S + SLOWED_DOWN * cell.test.sustained_s


def _run(job: str, done: Done, cell: Cell, fingerprint: str, number: int) -> Run:
    ended = done.ended
    measured: dict[str, Any] = {}
    failure: str | None = None
    if ended.how == "timeout":
        failure = (
            f"it had not ended after {_timeout_s(cell)} s, and was ended. If it hangs, close what else runs on the "
            "phone; if it is only slow, ask for fewer repetitions or tokens"
        )
    elif ended.how == "abandoned":
        failure = (
            f"it was tried {ended.attempt} times, and each time the phone or the runner on it went down: too little "
            "memory, or a phone too hot? Take a smaller model or fewer threads"
        )
    elif ended.exit_status != 0:
        failure = why_it_died(CommandFailed("phone", [_tool(cell)], ended.exit_status, done.stdout, done.stderr))
    else:
        try:
            measured = _measured(done, cell)
        except NoNumber as error:
            failure = str(error)
    return Run(
        fingerprint=fingerprint,
        cell=cell,
        round=number,
        started_at=ended.began_at,
        wall_s=ended.wall_s,
        failure=failure,
        **measured,
        job=job,
        attempt=ended.attempt,
        waited=ended.waited,
        mask_held=done.samples.held(cell.cpus) if done.samples and cell.cpus else None,
        runner_cpu_s=ended.runner_cpu_s,
    )


def _celsius_at_end(done: Done) -> float | None:
    """The hottest zone's last value; None where none was read."""
    zones = done.samples.celsius.values() if done.samples else ()
    return max((known[-1] for zone in zones if (known := [c for c in zone if c is not None])), default=None)


def _measured(done: Done, cell: Cell) -> dict[str, Any]:
    """Fields of a Run. Raises NoNumber when the tool told none, or measured something else."""
    kernels = parse_kernels(done.stderr)
    if cell.test.prompt:
        completion = parse_completion(done.stderr)
        return {"completion": completion, "tokens_per_s": [completion.generated_tps], "kernels": kernels}
    record = command_lines.check(parse_bench(done.stdout), cell, kernels)
    return {"bench": record, "tokens_per_s": record.samples_ts, "kernels": kernels}
