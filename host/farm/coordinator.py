"""Many phones at work at once: a thread for each, one controller, and nobody waits for anybody.

A phone's thread connects, plans, sends and follows; what it waits for is its own phone. A phone that cannot be
reached, or is busy, is tried again for as long as another one works: that costs nobody anything.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Protocol

from smoothdroid.device.common.errors import BadInput, NoPhone, PhoneBusy, SmoothdroidError, TargetLost, TargetTimeout
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.device.job.session import Session
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench import plan, request
from smoothdroid.host.bench.campaign import Binaries, CampaignEvents, CampaignResult, conduct, finished
from smoothdroid.host.bench.request import Request
from smoothdroid.host.common.threads import Worker
from smoothdroid.host.farm.progress_table import ProgressRow
from smoothdroid.host.farm.sharing import PhoneShare, Pool, identity
from smoothdroid.host.gguf import artifact
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Run, campaigns_below, read_campaign

RETRY_S = 15.0
LOOK_S = 0.2
LAST_WORDS_S = 60.0  # for ending what phones measure, after Ctrl-C
LONGEST_SAID = 300
WORTH_ANOTHER_TRY = (TargetLost, TargetTimeout, NoPhone, PhoneBusy)


@dataclass(frozen=True)
class Member:
    """A phone of a farm."""

    name: str
    """How people call it: its target, or its name in the inventory."""
    on: str
    """Its target."""
    open: Callable[[], Target]
    labels: Sequence[str] = ()
    models: Sequence[str] = ("*",)
    """Patterns of the names of models that it may run."""


@dataclass
class PhoneResult:
    """What became of a phone's part."""

    member: Member
    phone: Phone | None = None
    outcome: CampaignResult | None = None
    runs: list[Run] = field(default_factory=list)
    """Of this call, in all its tries."""
    why_none: str = ""
    """Why it had nothing to do."""
    error: SmoothdroidError | None = None


class BuildProvider(Protocol):
    """What a farm needs that is not its own: who builds and who checks."""

    def binaries(self, target: Target, phone: Phone) -> Binaries:
        """The build for a phone. Raises BadInput when there is none."""
        ...

    def check(self, plan: Plan, phone: Phone) -> None:
        """Raises BadInput when the phone cannot run the plan."""
        ...

    def say(self, text: str, *, matters: bool) -> None:
        """Tell people; what does not matter may stand in the table alone."""
        ...


class Coordinator:
    """One call of `bench` on many phones."""

    def __init__(
        self,
        members: Sequence[Member],
        asked: Request,
        results: Path,
        workshop: BuildProvider,
        *,
        share: bool = False,
        retry_s: float = RETRY_S,
        patience_s: float = 120.0,
    ) -> None:
        self.rows = [ProgressRow(member.name) for member in members]
        self._asked, self._results, self._workshop = asked, results, workshop
        self._share, self._retry_s, self._patience_s = share, retry_s, patience_s
        self._ended = [PhoneResult(member) for member in members]
        self._sessions: dict[str, Session] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._models: dict[Path, Artifact] = {}
        self._models_lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        self._phones: dict[str, threading.Lock] = {}
        self._marks: dict[tuple[str, str, str], str] = {}
        self._at_work = len(members)
        """Phones that are not waited for."""

    def run(self) -> list[PhoneResult]:
        """Measure on all phones; returns when each is done or given up. Ctrl-C ends the work on all of them."""
        threads = [
            Worker(partial(self._work, ended, row), row.name) for ended, row in zip(self._ended, self.rows, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while not thread.ended.wait(LOOK_S):
                    pass
        except KeyboardInterrupt:
            self._stop(threads)
            raise
        return self._ended

    def _stop(self, threads: Sequence[Worker]) -> None:
        self._stopping.set()
        with self._lock:
            sessions = list(self._sessions.values())
        helpers = [Worker(partial(_interrupt, session)) for session in sessions]
        for helper in helpers:
            helper.start()
        for thread in [*helpers, *threads]:
            thread.ended.wait(LAST_WORDS_S)

    def _heed(self) -> None:
        if self._stopping.is_set():
            raise KeyboardInterrupt

    def _work(self, ended: PhoneResult, row: ProgressRow) -> None:
        """A phone's thread."""
        try:
            self._try_until_done(ended, row)
        except KeyboardInterrupt:
            row.now = "stopped"
        except SmoothdroidError as error:
            row.now, ended.error = "given up", error
            self._workshop.say(f"{row.name}: {error}", matters=True)
        except Exception as error:
            row.now, ended.error = "given up", unexpected(error)
            self._workshop.say(f"{row.name}: {ended.error}", matters=True)
        finally:
            self._give_back(row.name)
            with self._lock:
                self._at_work -= 1

    def _try_until_done(self, ended: PhoneResult, row: ProgressRow) -> None:
        while True:
            try:
                self._measure(ended, row)
                return
            except WORTH_ANOTHER_TRY as error:
                self._give_back(row.name)
                if not self._others_work():
                    raise
                row.now = "not there; tried again"
                self._workshop.say(f"{row.name}: {error} It is tried again while others work", matters=True)
                with self._waited_for():
                    self._stopping.wait(self._retry_s)
                self._heed()

    def _others_work(self) -> bool:
        with self._lock:
            return self._at_work > 1

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        with self._lock:
            self._at_work -= 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work += 1

    def _give_back(self, name: str) -> None:
        for pool in list(self._pools.values()):
            pool.release(name)

    def _measure(self, ended: PhoneResult, row: ProgressRow) -> None:
        row.now = "connecting"
        member = ended.member
        with closing(member.open()) as target:
            phone = ended.phone = describe(target)
            self._refuse_double(target, phone)
            row.described(phone)
            asked = self._asked.on(phone, {member.name, member.on, target.name}, member.labels)
            if asked is None:
                row.now = ended.why_none = "the plan is for other phones"
                row.left = 0
                return
            row.now = "planning"
            models = self._artifacts(asked, member)
            if not models:
                row.now = ended.why_none = f"it may run none of the plan's models, only {', '.join(member.models)}"
                row.left = 0
                return
            planned = plan.make(models, asked, phone)
            self._workshop.check(planned, phone)
            binaries = self._workshop.binaries(target, phone)
            session = Session(target, reopen=member.open, patience_s=self._patience_s)
            with closing(session), self._alone(phone, row), self._stoppable(row.name, session):
                shared = self._part(planned, phone, target, binaries, row.name) if self._share else None
                watch = self._watch(ended, row, shared)
                ended.outcome = conduct(planned, session, phone, binaries, self._results, watch, shared)
            row.now, row.left, row.shared = "done", 0, 0

    def _artifacts(self, asked: Request, member: Member) -> list[Artifact]:
        found = []
        for path in request.files(asked.models):
            if not any(fnmatchcase(path.stem, pattern) for pattern in member.models):
                continue
            with self._models_lock:  # a model is hashed once, and not by several at a time
                self._heed()
                if path not in self._models:
                    self._models[path] = artifact.inspect(path)
                found.append(self._models[path])
        return found

    def _refuse_double(self, target: Target, phone: Phone) -> None:
        """Raises BadInput for a phone with the serial number of another one: the other's results would be its own."""
        place = phone.id, target.kind, target.root  # where one phone has one mark
        with self._lock:
            known = self._marks.setdefault(place, phone.mark)
        if known and phone.mark and known != phone.mark:
            raise BadInput(
                f"{target.name}: another phone of this call has the same serial number as this {phone.model}: their "
                "results cannot be told apart. Measure one at a time, each into a results folder of its own (-o)"
            )

    @contextmanager
    def _alone(self, phone: Phone, row: ProgressRow) -> Iterator[None]:
        """Two ways to one phone take turns."""
        with self._lock:
            lock = self._phones.setdefault(phone.id, threading.Lock())
        while not lock.acquire(timeout=LOOK_S):
            row.now = "waits: measured another way"
            self._heed()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _stoppable(self, name: str, session: Session) -> Iterator[None]:
        with self._lock:
            self._sessions[name] = session
        try:
            self._heed()
            yield
        finally:
            with self._lock:
                del self._sessions[name]

    def _part(self, planned: Plan, phone: Phone, target: Target, binaries: Binaries, name: str) -> PhoneShare:
        share = identity(planned, phone, target.kind, binaries.id)
        with self._lock:
            if share not in self._pools:
                self._pools[share] = Pool(planned, share, self._measured_before(share), self._heed)
            return PhoneShare(self._pools[share], name)

    def _measured_before(self, share: str) -> set[Cell]:
        """By any of the equal phones, also one that is not there today. A damaged record counts for none of them."""
        cells: set[Cell] = set()
        for folder in sorted(campaigns_below(self._results)):
            try:
                if read_campaign(folder).share == share:
                    cells |= finished(folder)
            except (BadInput, OSError) as error:
                self._workshop.say(f"left out: {error}", matters=True)
        return cells

    def _watch(self, ended: PhoneResult, row: ProgressRow, shared: PhoneShare | None) -> CampaignEvents:
        def step(text: str) -> None:
            self._heed()
            row.now = text
            self._workshop.say(f"{row.name}: {text}", matters=False)

        def push(done: int, total: int) -> None:
            self._heed()
            row.now = f"sending, {done >> 20} of {total >> 20} MiB"

        def cell(begins: Cell, number: int, total: int) -> None:
            settings = f", {begins.options}" if str(begins.options) else ""
            row.now = f"{begins.model} {begins.test.name}, {begins.threads} threads{settings}"
            row.left = total - number + 1
            row.shared = shared.pool.free if shared else 0

        def run(measured: Run) -> None:
            ended.runs.append(measured)
            row.ended(measured)
            said = ", ".join(f"{rate:.2f}" for rate in measured.tokens_per_s) + " tokens/s"
            told = measured.cell
            self._workshop.say(
                f"{row.name}: {told.model}, {told.test.name}, {told.threads} threads: "
                + (f"failed: {measured.failure}" if measured.failure else said),
                matters=measured.failure is not None,
            )

        def warn(text: str) -> None:
            self._workshop.say(f"{row.name}: {text}", matters=True)

        def celsius(hottest: float) -> None:
            row.celsius = hottest

        return CampaignEvents(step, push, cell, run, on_warning=warn, on_celsius=celsius)


def unexpected(error: Exception) -> SmoothdroidError:
    """An error that nothing here is prepared for, in words: one phone fails by it, and says so."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}, line {last[0].lineno})" if last else ""
    return SmoothdroidError(
        f"an unexpected {type(error).__name__}{where}: {str(error)[:LONGEST_SAID]}. What this phone says of itself, or "
        "its record, may be damaged; this message is worth a bug report"
    )


def _interrupt(session: Session) -> None:
    with suppress(SmoothdroidError, KeyboardInterrupt):  # a phone that is gone cannot be told
        session.interrupt()
