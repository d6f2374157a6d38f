"""Jobs on a phone: started, followed, collected and removed, over a connection that may be lost meanwhile.

The runner (device/job/runner/) works alone. The workstation may lose the phone, reconnect, or be killed and started
again: the results of a task stay on the phone until they were collected and their job was removed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from smoothdroid.device.common.errors import BadInput, CommandFailed, Damaged, PhoneBusy, TargetLost, TargetTimeout
from smoothdroid.device.job.connection import Connection
from smoothdroid.device.job.cooling import Zones
from smoothdroid.device.job.journal import Journal
from smoothdroid.device.job.outputs import Done, collect
from smoothdroid.device.job.runner_install import install
from smoothdroid.device.job.task import Cooling, Task, check_names, is_name, write_job
from smoothdroid.device.transport.target import Target

WATCH_S = 20
"""The longest wait for news in the journal, so that a connection that is dead but silent is noticed."""

MOST_RESTARTS = 3
"""The restarts of a runner that is killed: Android would go on killing it."""

T = TypeVar("T")


class Session:
    """The jobs of one phone. With `reopen`, a lost phone is waited for, `patience_s` each time.

    Every method raises TargetLost or TargetTimeout when the phone does not come back; a job that runs there continues.
    """

    def __init__(
        self, target: Target, *, reopen: Callable[[], Target] | None = None, patience_s: float = 120.0
    ) -> None:
        """Begin with an open target; `reopen` opens another one after the phone was lost."""
        self._connection = Connection(target, reopen, patience_s)
        self._runner = ""
        self._zones: Zones | None = None
        self._following: str | None = None
        self._start_id = "-"
        """The id of the last order to start: an order to stop cancels it, should it arrive late."""

    @property
    def target(self) -> Target:
        """The open connection to the phone."""
        return self._connection.target

    def close(self) -> None:
        """Close the connection, if this session opened it."""
        self._connection.close()

    def retry(self, do: Callable[[Target], T]) -> T:
        """Do what may be done twice, and once more on a new connection when the phone was lost meanwhile."""
        return self._connection.retry(do)

    def running_job(self) -> str | None:
        """Return the job that a runner works on now; None when no runner works."""
        state, _, job = self._call("state", "-").strip().partition(" ")
        return job if state == "running" else None

    def refuse_other_job(self, job: str) -> None:
        """Raise PhoneBusy when a runner works on another job."""
        if (other := self.running_job()) not in (None, job):
            raise PhoneBusy(_busy(self.target.name, str(other)))

    def jobs(self) -> list[str]:
        """List the jobs on the phone, finished or not."""
        listed = self.retry(lambda target: target.run(["ls", f"{target.root}/jobs"], check=False).stdout)
        return sorted(name for name in listed.split() if is_name(name))

    def tasks(self, job: str) -> list[str]:
        """List the names of a job's tasks, in their order; empty when the phone has lost the list."""
        check_names([job])
        path = f"{self._folder(job)}/cells"
        listed = self.retry(lambda target: target.run(["cat", path], check=False).stdout)
        return [name for line in listed.splitlines() if is_name(name := line.partition(" ")[0])]

    def zones(self) -> Zones:
        """Read the phone's thermal zones, for a few seconds."""
        return Zones.parse(self._call("zones", "-"))

    def start(
        self, job: str, tasks: Sequence[Task], cooling: Cooling | None = None, start_zones: Zones | None = None
    ) -> None:
        """Write a job to the phone and have a runner work on it.

        `start_zones` is what Cooling.above_start counts from; without it, the zones that this session read first.
        Raises PhoneBusy when a runner works on another job, CommandFailed when none can work there, Damaged when the
        job on the phone is not what was written.
        """
        self._connection.check_interrupt()
        check_names([job, *(task.id for task in tasks)])
        self.refuse_other_job(job)
        limits = self._limits(cooling, start_zones) if cooling else ""
        self.retry(lambda target: write_job(target, job, tasks, limits, cooling.within_s if cooling else 0))
        self.resume(job)

    def resume(self, job: str) -> None:
        """Have a runner work on a job that is on the phone, unless one does. Raises the errors of `start`."""
        self._start_id = secrets.token_hex(8)
        answer = self._call("start", job, self._start_id).strip()
        state, _, rest = answer.partition(" ")
        if state == "damaged":
            names = ", ".join(rest.split())
            what = f"{names} lost or damaged: no further cell of this job is measured"
            raise Damaged(self.target.name, f"{self._folder(job)}: {what}")
        if answer == "stopped":
            raise KeyboardInterrupt
        if state != "running" or not rest:
            raise CommandFailed(self.target.name, ["start", job], 0, stderr=f"the runner answered {answer[:80]!r}")
        if rest != job:
            raise PhoneBusy(_busy(self.target.name, rest))

    def follow(
        self, job: str, *, known: Collection[str] = (), on_damage: Callable[[str], None] | None = None
    ) -> Iterator[Done]:
        """Yield the tasks of a job as they end, without those `known`; return when the job has finished.

        A runner that was killed is started again, a few times. Raises CommandFailed when it does not stay alive.
        Damage on the phone is reported to `on_damage` as a sentence, and the damaged task is left out. This returns
        when the rest of the job cannot be measured. Without `on_damage` it raises Damaged at its end, when a task was
        left out.
        """
        damage: list[str] = []
        collected = set(known)
        for done in self._follow(job, known, on_damage or damage.append):
            collected.add(done.ended.cell)
            yield done
        if damage and (not (tasks := self.tasks(job)) or not collected.issuperset(tasks)):
            raise Damaged(self.target.name, "; ".join(damage))

    def _follow(self, job: str, known: Collection[str], on_damage: Callable[[str], None]) -> Iterator[Done]:
        journal, restarts, reported = Journal(job), 0, 0
        folder = self._folder(job)
        self._following = job
        if self._connection.interrupted.is_set():  # `interrupt` came before there was a job that it could stop
            self.stop(job)
        while True:
            self._connection.check_interrupt()
            answer = self._call("watch", job, str(journal.lines), str(WATCH_S), timeout_s=WATCH_S + 40)
            state, _, lines = answer.partition("\n")
            if state == "gone":
                on_damage(f"{folder}/journal is gone or too large: its cells are measured again")
                break
            ended = journal.read(lines)
            for damage in journal.damage[reported:]:
                on_damage(f"{folder}/journal: {damage}")
            reported = len(journal.damage)
            for cell in ended:
                if cell.cell not in known:
                    try:
                        yield collect(self._connection, folder, cell)
                    except Damaged as error:
                        on_damage(error.what)
            if ended:
                restarts = 0
            elif state == "ended" and not journal.finished:
                self._connection.check_interrupt()  # the runner was ended on purpose
                try:
                    self._restart(job, restarts)
                except Damaged as error:
                    on_damage(error.what)
                    break
                restarts += 1
            if state == "ended" and journal.finished:  # a runner that still works measures damaged cells again
                break
        self._following = None

    def interrupt(self) -> None:
        """Have KeyboardInterrupt raised soon in the thread that uses this session; called from another thread.

        The interrupted thread must `stop` the job then: when the phone is lost just now, this does not wait for it.
        """
        self._connection.interrupted.set()
        if (job := self._following) and self._runner:
            # The thread that follows the job waits for the phone's answer; a stopped runner makes the phone answer.
            argv = ["sh", self._runner, "stop", self.target.root, job, self._start_id]
            with suppress(TargetLost, TargetTimeout):
                self.target.run(argv)

    def stop(self, job: str) -> None:
        """End the runner of a job and the task that it measures; results of earlier tasks stay on the phone.

        A phone that is lost is waited for, though not for long, also after an interrupt.
        """
        with self._connection.stopping():
            self._call("stop", job, self._start_id)

    def inspect(self, job: str) -> str:
        """Return the state of a job in the format of `inspect` in device/job/runner/runner.sh."""
        return self._call("inspect", job)

    def remove(self, job: str, *, idle: bool = False) -> bool:
        """Remove a job and end a runner that works on it. With `idle`, a job with a runner stays: returns False."""
        answer = self._call("remove", job, *(["idle"] if idle else []))
        return not answer.startswith("running")

    def _folder(self, job: str) -> str:
        return f"{self.target.root}/jobs/{job}"

    def _restart(self, job: str, restarts: int) -> None:
        """Start a killed runner. Raises CommandFailed with its log when it was killed too often."""
        if restarts == MOST_RESTARTS:
            folder = self._folder(job)
            log = self.retry(lambda target: target.run(["tail", f"{folder}/log"], check=False).stdout)
            disk = self.retry(lambda target: target.run(["df", "-k", folder], check=False).stdout).splitlines()[-1:]
            message = (
                f"the runner was killed {restarts + 1} times. Its log: {log.strip() or 'empty'}\n"
                "Is the phone's storage full? Free some. Or its memory? Close other apps. Termux: turn off phantom "
                "process killing. Then run the same command again: finished cells are not measured again. "
                f"Disk: {''.join(disk)}"
            )
            raise CommandFailed(self.target.name, ["runner", job], 137, stderr=message)
        self.resume(job)

    def _limits(self, cooling: Cooling, start_zones: Zones | None) -> str:
        """Return the text of the runner's file `cool`. Raises BadInput where the phone shows no temperature."""
        # The zones are read before the first job: a later job would start from a phone that the first has warmed.
        self._zones = start_zones or self._zones or self.zones()
        limits = self._zones.limits(cooling.celsius, cooling.above_start)
        if not limits:
            raise BadInput(
                f"{self.target.name} shows this user no temperature, so there is nothing to wait for: leave cooling out"
            )
        return limits

    def _call(self, verb: str, job: str, *arguments: str, timeout_s: float = 60.0) -> str:
        """Call a verb of the runner's script, installing it first; return its standard output."""
        check_names([job])

        def call(target: Target) -> str:
            if not self._runner:
                self._runner = install(target)
            return target.run(["sh", self._runner, verb, target.root, job, *arguments], timeout_s=timeout_s).stdout

        return self.retry(call)


def _busy(target: str, job: str) -> str:
    return (
        f"{target} is running another job, {job}, and two at a time would disturb each other. Wait until it has "
        "finished, or let the command that started it finish"
    )
