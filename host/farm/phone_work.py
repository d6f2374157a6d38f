"""One phone's part of a benchmark: connect, plan, deploy, measure."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.info.phone import describe
from smoothdroid.device.job.session import Session
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench import memory, plan
from smoothdroid.host.bench.campaign import CampaignEvents, conduct
from smoothdroid.host.farm.bench_call import BenchCall
from smoothdroid.host.farm.member import Member, PhoneResult
from smoothdroid.host.farm.progress_table import ProgressRow
from smoothdroid.host.farm.sharing import PhoneShare
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.record import Run

LONGEST_MESSAGE = 300


class PhoneWork:
    """One phone's part of a benchmark; runs in a thread of its own."""

    def __init__(self, member: Member, row: ProgressRow) -> None:
        """Take a phone, and its row of the progress table."""
        self.member, self.row = member, row
        self.result = PhoneResult(member)
        self._session: Session | None = None

    @property
    def holds_phone(self) -> bool:
        """True while a job of this part may run on the phone."""
        return self._session is not None

    def measure(self, call: BenchCall) -> None:
        """Measure what is missing of this phone's part. Raises NoPhone, PhoneBusy and others as `conduct` does."""
        self.row.now = "connecting"
        with closing(self.member.open()) as target:
            phone = self.result.phone = describe(target)
            call.refuse_same_serial(target, phone)
            self.row.described(phone)
            request = call.request.on(phone, {self.member.name, self.member.on, target.name}, self.member.labels)
            if request is None:
                self._has_nothing(f"the plan is for other phones than {phone.model}: see `phones` in it")
                return
            self.row.now = "planning"
            models = call.models_for(request, self.member)
            if not models:
                self._has_nothing(f"it may run none of the plan's models, only {', '.join(self.member.models)}")
                return
            planned = plan.make(models, request, phone)
            if not call.force:
                memory.check_plan(planned, phone.available_mb)
            binaries = call.builds(target, phone)
            with call.alone(phone, self._waits), self._session_on(target, call) as session:
                share = call.share_of(planned, phone, target, binaries, self.member.name)
                events = self._events(call, share)
                self.result.campaign = conduct(planned, session, phone, binaries, call.results, events, share)
        self.row.now, self.row.left, self.row.shared = "done", 0, 0

    def interrupt(self) -> None:
        """Make the thread that measures raise KeyboardInterrupt soon, which ends the job on the phone."""
        session = self._session
        if session:
            with suppress(SmoothdroidError, KeyboardInterrupt):  # a phone that is lost cannot be reached
                session.interrupt()

    def _has_nothing(self, reason: str) -> None:
        self.row.now = self.result.nothing_to_do = reason
        self.row.left = 0

    def _waits(self) -> None:
        self.row.now = "waiting: measured over another transport"

    @contextmanager
    def _session_on(self, target: Target, call: BenchCall) -> Iterator[Session]:
        with closing(Session(target, reopen=self.member.open, patience_s=call.patience_s)) as session:
            self._session = session
            try:
                call.check_stopped()
                yield session
            finally:
                self._session = None

    def _events(self, call: BenchCall, share: PhoneShare | None) -> CampaignEvents:
        name, row, display = self.member.name, self.row, call.display

        def on_step(text: str) -> None:
            row.now = text
            display.step(name, text)
            call.check_stopped()

        def on_push(done: int, total: int) -> None:
            row.now = f"sending, {done >> 20} of {total >> 20} MiB"
            display.sending(name, done, total)
            call.check_stopped()

        def on_cell(cell: Cell, number: int, total: int) -> None:
            row.begins(cell, total - number + 1, share.pool.free if share else 0)
            display.cell_begins(name, cell, number, total)

        def on_run(run: Run) -> None:
            self.result.runs.append(run)
            row.ended(run)
            display.run_ended(name, run)

        def on_warning(text: str) -> None:
            display.warning(name, text)

        return CampaignEvents(on_step, on_push, on_cell, on_run, on_warning, row.measured_celsius)


class Unexpected(SmoothdroidError):
    """An exception that nothing expects, with its place in the code; one phone fails by it, and no other."""

    def __init__(self, error: Exception) -> None:
        """Describe `error` with its type and place."""
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" ({Path(last[0].filename).name}, line {last[0].lineno})" if last else ""
        super().__init__(
            f"an unexpected {type(error).__name__}{where}: {str(error)[:LONGEST_MESSAGE]}. What this phone reports, or "
            "its record, may be damaged. Please file a bug report with this message"
        )
        self.error = error
