"""A job on a phone: given to the runner there, followed from here, collected whole.

The runner (device/job/runner/) works alone. This side may lose the phone, come back, or be killed and started again:
what ended over there stays there until it was collected and removed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from smoothdroid.device.common.errors import (
    BadInput,
    CommandFailed,
    Damaged,
    PhoneBusy,
    TargetLost,
    TargetTimeout,
    Unreachable,
)
from smoothdroid.device.job.cooling import Zones
from smoothdroid.device.job.journal import Ended, Journal
from smoothdroid.device.telemetry import series
from smoothdroid.device.telemetry.series import Samples
from smoothdroid.device.transport.command_line import script
from smoothdroid.device.transport.target import Target, remove

RUNNER = Path(__file__).with_name("runner")
WATCH_S = 20  # one look at the journal lasts at most this long: so a way that is dead but silent is noticed
OUTPUT_KB = 4096  # of standard output and of standard error each: llama-bench writes a few KB, a mad one no more
MOST_COLLECTED_BYTES = 64 << 20  # what a phone sends is hostile until checked; a day of samples is 20 MB
MOST_RESTARTS = 3  # of a runner that somebody kills: Android will go on killing it
FIRST_PAUSE_S = 0.5  # between two tries to reach a lost phone; each pause is twice the one before
LONGEST_PAUSE_S = 8.0
STOP_PATIENCE_S = 30.0  # for a phone that is lost when its work is to be ended
PARTS = ("cells", "commands.sh", "limits", "cool")  # of a job, as device/job/runner/runner.sh lists them
HEED_S = 0.2  # so soon an interrupt is noticed in a pause

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A command for the runner."""

    id: str
    """Letters, digits and `-`; one of its kind in a job."""
    argv: Sequence[str]
    timeout_s: int
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: Collection[int] = ()
    """The CPUs that it may run on; empty: those that Android gives it."""


class Cooling(BaseModel):
    """How cool a phone must be before each task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    celsius: float | None = None
    """No thermal zone above this."""
    above_start: float | None = None
    """No thermal zone more than this above what it was at the start of the campaign."""
    within_s: int = Field(default=600, ge=0)
    """Then it is measured all the same, and the wait says so."""


@dataclass(frozen=True)
class Done:
    """A task that came to its end, with all that the phone kept of it."""

    ended: Ended
    stdout: str
    stderr: str
    samples: Samples | None
    """None when no attempt came to its end."""
    raw_samples: str


class Session:
    """Jobs on one phone. With `reopen`, a lost phone is waited for, `patience_s` each time, and taken up again.

    Every method raises TargetLost or TargetTimeout when the phone does not come back; what runs there goes on.
    """

    def __init__(
        self, target: Target, *, reopen: Callable[[], Target] | None = None, patience_s: float = 120.0
    ) -> None:
        self.target = self._first = target
        self._reopen = reopen
        self._patience_s = patience_s
        self._runner = ""
        self._zones: Zones | None = None
        self._following: str | None = None
        self._interrupted = threading.Event()
        self._stopping = False
        self._start_id = "-"
        """Of the last order to start: an order to stop cancels it, should it arrive late."""

    def close(self) -> None:
        """Give back the connection, if one was made here."""
        if self.target is not self._first:
            self.target.close()

    def at_work(self) -> str | None:
        """The job that a runner works on now, if one does."""
        word, _, job = self._call("state", "-").strip().partition(" ")
        return job if word == "running" else None

    def refuse_beside(self, job: str) -> None:
        """Raises PhoneBusy when a runner works on another job."""
        if (other := self.at_work()) not in (None, job):
            raise PhoneBusy(_busy(self.target.name, str(other)))

    def jobs(self) -> list[str]:
        """The jobs that lie on the phone, done or not."""
        listed = self.again(lambda target: target.run(["ls", f"{target.root}/jobs"], check=False).stdout)
        return sorted(name for name in listed.split() if _is_name(name))

    def tasks(self, job: str) -> list[str]:
        """The names of a job's tasks, in their order; none when the phone has lost the list."""
        _check_names([job])
        path = f"{self.target.root}/jobs/{job}/cells"
        listed = self.again(lambda target: target.run(["cat", path], check=False).stdout)
        return [name for line in listed.splitlines() if _is_name(name := line.partition(" ")[0])]

    def zones(self) -> Zones:
        """The phone's thermal zones now, read for a few seconds."""
        return Zones.parse(self._call("zones", "-"))

    def start(
        self, job: str, tasks: Sequence[Task], cooling: Cooling | None = None, start_zones: Zones | None = None
    ) -> None:
        """Give a job to the phone and have a runner work on it.

        `start_zones` is what Cooling.above_start counts from; without it, the zones as this session first found them.
        Raises PhoneBusy when a runner works on another one, CommandFailed when none can work there, Damaged when what
        arrived there is not what was written.
        """
        self._heed()
        _check_names([job, *(task.id for task in tasks)])
        self.refuse_beside(job)
        limits = self._limits(cooling, start_zones) if cooling else ""
        self.again(lambda target: _write_job(target, job, tasks, limits, cooling.within_s if cooling else 0))
        self.resume(job)

    def resume(self, job: str) -> None:
        """Have a runner work on a job that lies on the phone, unless one does. Raises as `start`."""
        self._start_id = secrets.token_hex(8)
        said = self._call("start", job, self._start_id).strip()
        word, _, rest = said.partition(" ")
        if word == "damaged":
            names = ", ".join(rest.split())
            what = f"{names} lost or damaged: no further cell of this job is measured"
            raise Damaged(self.target.name, f"{self.target.root}/jobs/{job}: {what}")
        if said == "stopped":
            raise KeyboardInterrupt
        if word != "running" or not rest:
            raise CommandFailed(self.target.name, ["start", job], 0, stderr=f"the runner said {said[:80]!r}")
        if rest != job:
            raise PhoneBusy(_busy(self.target.name, rest))

    def follow(
        self, job: str, *, known: Collection[str] = (), on_damage: Callable[[str], None] | None = None
    ) -> Iterator[Done]:
        """The tasks of a job as they end, without those `known`; returns when the job is done.

        A runner that was killed is started again, a few times. Raises CommandFailed when it does not stay alive.
        Damage on the phone is reported to `on_damage` as a sentence, and the damaged task is left out. This returns
        when the rest of the job cannot be measured. Without `on_damage` it raises Damaged at its end, when a task was
        left out.
        """
        found: list[str] = []
        brought = set(known)
        for done in self._follow(job, known, on_damage or found.append):
            brought.add(done.ended.cell)
            yield done
        if found and (not (tasks := self.tasks(job)) or not brought.issuperset(tasks)):
            raise Damaged(self.target.name, "; ".join(found))

    def _follow(self, job: str, known: Collection[str], on_damage: Callable[[str], None]) -> Iterator[Done]:
        journal, restarts, reported = Journal(job), 0, 0
        place = f"{self.target.root}/jobs/{job}/journal"
        self._following = job
        if self._interrupted.is_set():  # before it was known here what to stop
            self.stop(job)
        while True:
            self._heed()
            answer = self._call("watch", job, str(journal.lines), str(WATCH_S), timeout_s=WATCH_S + 40)
            word, _, rest = answer.partition("\n")
            if word == "gone":
                on_damage(f"{place} is gone, or larger than any: what was measured is measured again")
                break
            ended = journal.read(rest)
            for damage in journal.damage[reported:]:
                on_damage(f"{place}: {damage}")
            reported = len(journal.damage)
            for cell in ended:
                if cell.cell not in known:
                    try:
                        yield self._collect(job, cell)
                    except Damaged as error:
                        on_damage(error.what)
            if ended:
                restarts = 0
            elif word == "ended" and not journal.finished:
                self._heed()  # it was ended on purpose
                try:
                    self._start_again(job, restarts)
                except Damaged as error:
                    on_damage(error.what)
                    break
                restarts += 1
            if word == "ended" and journal.finished:  # a runner at work measures again what is damaged
                break
        self._following = None

    def interrupt(self) -> None:
        """From another thread, what Ctrl-C is in its own: who works with this session gets KeyboardInterrupt, soon.

        That one must `stop` the job then: when the phone is lost just now, this does not wait for it.
        """
        self._interrupted.set()
        if (job := self._following) and self._runner:
            # Who follows it waits for the phone's word: this makes the phone say it.
            argv = ["sh", self._runner, "stop", self.target.root, job, self._start_id]
            with suppress(TargetLost, TargetTimeout):
                self.target.run(argv)

    def stop(self, job: str) -> None:
        """End the runner of a job and what it measures; what ended before stays there.

        A phone that is lost is waited for, though not for long, also after an interrupt.
        """
        patience_s, self._stopping = self._patience_s, True
        self._patience_s = min(patience_s, STOP_PATIENCE_S)
        try:
            self._call("stop", job, self._start_id)
        finally:
            self._patience_s, self._stopping = patience_s, False

    def inspect(self, job: str) -> str:
        """Return the state of a job in the words of `inspect` in device/job/runner/runner.sh."""
        return self._call("inspect", job)

    def remove(self, job: str, *, idle: bool = False) -> bool:
        """Remove a job and end a runner that works on it. With `idle`, a job with a runner stays: returns False."""
        said = self._call("remove", job, *(["idle"] if idle else []))
        return not said.startswith("running")

    def _start_again(self, job: str, restarts: int) -> None:
        if restarts == MOST_RESTARTS:
            folder = f"{self.target.root}/jobs/{job}"
            log = self.again(lambda target: target.run(["tail", f"{folder}/log"], check=False).stdout)
            disk = self.again(lambda target: target.run(["df", "-k", folder], check=False).stdout).splitlines()[-1:]
            said = f"the runner was killed {restarts + 1} times. It said: {log.strip() or 'nothing'}"
            said += (
                "\nIs the phone's storage full? Free some. Or its memory? Close other apps. Termux: turn off phantom "
            )
            said += f"process killing. Then the same command again goes on: what ended is kept. Disk: {''.join(disk)}"
            raise CommandFailed(self.target.name, ["runner", job], 137, stderr=said)
        self.resume(job)

    def _collect(self, job: str, ended: Ended) -> Done:
        """Raises Damaged when the phone has not kept what it wrote."""
        if ended.sha256 == "-":
            return Done(ended, "", "", None, "")
        output = f"{ended.cell}.{ended.attempt}"
        try:
            texts = self.again(lambda target: _pull(target, f"{target.root}/jobs/{job}/{output}"))
            if hashlib.sha256(b"".join(texts)).hexdigest() != ended.sha256:
                raise ValueError(".stdout, .stderr or .samples: not what it wrote down when the cell ended")
            stdout, stderr, sampled = (text.decode("utf-8", "replace") for text in texts)
            return Done(ended, stdout, stderr, _parsed(sampled), sampled)
        except ValueError as error:
            what = f"{self.target.root}/jobs/{job}/{output}{error}. The cell counts as not measured"
            raise Damaged(self.target.name, what) from error

    def _limits(self, cooling: Cooling, start_zones: Zones | None) -> str:
        """The runner's file `cool`. Raises BadInput where the phone shows no temperature."""
        # The start is that of the first job: a later one would start from a phone that the first has warmed.
        self._zones = start_zones or self._zones or self.zones()
        limits = self._zones.limits(cooling.celsius, cooling.above_start)
        if not limits:
            raise BadInput(
                f"{self.target.name} shows this user no temperature, so there is nothing to wait for: leave cooling out"
            )
        return limits

    def _call(self, verb: str, job: str, *arguments: str, timeout_s: float = 60.0) -> str:
        """What the runner's script says to a verb."""
        _check_names([job])

        def call(target: Target) -> str:
            if not self._runner:
                self._runner = install(target)
            return target.run(["sh", self._runner, verb, target.root, job, *arguments], timeout_s=timeout_s).stdout

        return self.again(call)

    def again(self, do: Callable[[Target], T]) -> T:
        """Do what may be done twice, and when the phone was lost in it, do it again on a new connection.

        Raises what refuses for good, such as a plain NoPhone, at once; TargetLost after `patience_s` without the phone.
        """
        deadline, pause, opened_at = 0.0, 0.0, time.monotonic()
        while True:
            try:
                return do(self.target)
            except (TargetLost, TargetTimeout) as error:
                if self._reopen is None:
                    raise
                now = time.monotonic()
                if not deadline or now - opened_at > self._patience_s:  # it was there again, for long
                    deadline, pause = now + self._patience_s, 0.0
                # A way that opens and breaks again is not tried without a pause.
                self._rest(pause, deadline)
                pause = min(pause * 2 or FIRST_PAUSE_S, LONGEST_PAUSE_S)
                self._await_phone(self._reopen, deadline, error)
                opened_at = time.monotonic()

    def _heed(self) -> None:
        if self._interrupted.is_set() and not self._stopping:
            raise KeyboardInterrupt

    def _await_phone(self, reopen: Callable[[], Target], deadline: float, lost: TargetLost | TargetTimeout) -> None:
        """Open a new connection. Raises TargetLost, with what was last in the way, when none opens in time."""
        self.target.close()
        in_the_way, pause = "", FIRST_PAUSE_S
        while time.monotonic() < deadline:
            self._heed()
            try:
                self.target = reopen()
                return
            except (Unreachable, TargetLost, TargetTimeout) as error:
                in_the_way = f"; the last try: {error}"
            self._rest(pause, deadline)
            pause = min(pause * 2, LONGEST_PAUSE_S)
        raise TargetLost(
            f"{lost}. It was not back within {self._patience_s:.0f} s{in_the_way}. What runs there goes on by itself; "
            "the same command again takes it up"
        ) from lost

    def _rest(self, pause_s: float, deadline: float) -> None:
        """Wait so long, or until somebody interrupts, but not beyond the deadline."""
        until = min(time.monotonic() + pause_s, deadline)
        self._heed()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, HEED_S))
            self._heed()


# FOLDER: the sha256 of the runner that lies there.
_INSTALLED = 'cat "$1"/*.sh 2>/dev/null | sha256sum'


def install(target: Target) -> str:
    """Put the runner on the phone unless it is there whole; returns its script's path."""
    parts = sorted(RUNNER.glob("*.sh"))
    sha256 = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    folder = f"{target.root}/runner/{sha256[:16]}"
    if target.run(["sh", "-c", _INSTALLED, "installed", folder]).stdout.split()[:1] != [sha256]:
        remove(target, folder)
        _write_folder(target, folder, {part.name: part.read_text(encoding="utf-8") for part in parts})
    return f"{folder}/runner.sh"


def _write_job(target: Target, job: str, tasks: Sequence[Task], cool: str, cool_within_s: int) -> None:
    folder = f"{target.root}/jobs/{job}"
    if target.run(["test", "-e", folder], check=False).exit_status == 0:
        return  # written before the way broke
    files = {
        "cells": "".join(f"{task.id} {task.timeout_s}\n" for task in tasks),
        "commands.sh": "case $1 in\n" + "".join(f"{task.id})\n{_command(task)}\n;;\n" for task in tasks) + "esac\n",
        "limits": f"cool_within_s {cool_within_s}\noutput_kb {OUTPUT_KB}\n",
        "cool": cool,
    }
    sums = "".join(f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n" for name in PARTS)
    _write_folder(target, folder, {**files, "sum": sums, "journal": ""})


def _command(task: Task) -> str:
    mask = ["taskset", f"{sum(1 << cpu for cpu in set(task.cpus)):x}"] if task.cpus else []
    return script([*mask, *task.argv], task.env)


def _write_folder(target: Target, folder: str, files: Mapping[str, str]) -> None:
    """Write a folder that is seen on the phone only whole."""
    part = f"{folder}.part"
    remove(target, part)
    target.run(["mkdir", "-p", part])
    with tempfile.TemporaryDirectory() as here:
        for name, text in files.items():
            file = Path(here, name)
            file.write_text(text, encoding="utf-8", newline="\n")
            target.push(file, f"{part}/{name}")
    target.run(["mv", part, folder])


def _pull(target: Target, output: str) -> list[bytes]:
    """Standard output, standard error and samples. Raises ValueError when one is lost, unreadable or too large."""
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("stdout", "stderr", "samples"):
            size = target.run(["wc", "-c", f"{output}.{kind}"], check=False).stdout.split()
            if not size or not re.fullmatch(r"[0-9]{1,18}", size[0]):
                raise ValueError(f".{kind} is gone or cannot be read")
            if int(size[0]) > MOST_COLLECTED_BYTES:
                raise ValueError(f".{kind} has {size[0]} bytes, more than any runner writes")
            file = Path(folder, kind)
            try:
                target.pull(f"{output}.{kind}", file)
            except CommandFailed as error:
                raise ValueError(f".{kind} cannot be read ({error})") from error
            texts.append(file.read_bytes())
    return texts


def _parsed(samples: str) -> Samples:
    try:
        return series.parse(samples)
    except ValueError as error:
        raise ValueError(f".samples: {error}") from error


def _busy(target: str, job: str) -> str:
    return (
        f"{target} is at work on another job, {job}, and two at a time would disturb each other. Wait until it is "
        "done, or let the command that started it go on"
    )


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9-]{1,80}", text) is not None


def _check_names(names: Sequence[str]) -> None:
    if wrong := [name for name in names if not _is_name(name)]:
        raise BadInput(f"{wrong[0]!r} is no name for a job or a task: letters, digits and `-`")
    if len(set(names)) < len(names):
        raise BadInput("two tasks of a job have the same name")
