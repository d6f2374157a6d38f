"""The runner's journal: the events of a job on the phone, one a line, read in spite of damage."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from smoothdroid.device.telemetry.samples import TICKS_PER_S

How = Literal["exited", "timeout", "abandoned"]


class Waited(BaseModel):
    """The wait for a cool phone before a cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    too_hot: str | None = None
    """The zone that was still too hot when the time was over; None when the phone reached the limits."""
    kind: str = ""
    """The phone's name for that zone."""

    def __str__(self) -> str:
        """Return the name of the zone that was still too hot."""
        too_hot = str(self.too_hot)
        return too_hot if too_hot.endswith(self.kind) else f"{self.kind}, {too_hot}"


@dataclass(frozen=True)
class Ended:
    """An attempt at a cell that ended."""

    cell: str
    attempt: int
    exit_status: int
    """The shell's exit status: 128 + signal for a death by signal."""
    how: How
    """The reason of the end: `timeout` is the runner's; `abandoned` means that every attempt killed the runner."""
    wall_s: float
    runner_cpu_s: float
    """The processor time of the runner while it watched the cell."""
    sha256: str
    """The hash of standard output, standard error and samples, concatenated; `-` when there are none."""
    began_at: datetime
    """The time by the phone's clock, which its user can set."""
    waited: Waited | None


_NAME, _ATTEMPT, _TICKS = "([A-Za-z0-9-]{1,80})", "([0-9]{1,6})", "(-?[0-9]{1,12})"
# The first word of an event -> the form of its rest.
_EVENTS = {
    "runner": r"[0-9]{1,10} \S{1,60} [0-9]{1,11}",
    "waited": rf"{_NAME} {_ATTEMPT} {_TICKS} (\S{{1,80}}) (?:-?[0-9]{{1,12}}|-)(?: (\S{{1,80}}))?",
    "begin": rf"{_NAME} {_ATTEMPT} ([0-9]{{1,11}})(?: (waited|-))?",
    "end": rf"{_NAME} {_ATTEMPT} ([0-9]{{1,3}}) (exited|timeout|abandoned) {_TICKS} {_TICKS} ([0-9a-f]{{64}}|-)",
    "stopped": _NAME,
    "lost": "",
    "finished": "",
}
_SUM = re.compile(r" #([0-9a-f]{16})")
_WORD = re.compile(rf"(?:{'|'.join(_EVENTS)})(?= )")
_LONGEST = 400  # characters of an event
_MOST_WORDS = 8  # of an event that look like the beginning of an event, as names of cells can
_SHOWN = 60  # characters of a damaged line that a message shows


@dataclass
class Journal:
    """A journal as far as it was read, with the damage in it.

    A line is an event, then ` #SUM .`, where SUM is the beginning of the sha256 of the job's name and the event. An
    event with a valid sum is accepted wherever it stands, and all other text is damage. Lines without sums,
    as version 0.1 wrote them, are accepted as long as no line with a sum was seen.
    """

    job: str = ""
    """The job's name, which every sum covers: a line of another job's journal is damage."""
    lines: int = 0
    """The complete lines read so far."""
    torn: int = 0
    """The number of these lines that a kill cut short."""
    runners: int = 0
    """The number of runners started on this job; all but the last one were killed."""
    finished: bool = False
    """Whether the last runner finished the job."""
    ended: list[Ended] = field(default_factory=list)
    """The first end of each cell that ended."""
    damage: list[str] = field(default_factory=list)
    """Sentences that say what is damaged, and what is lost by it."""
    _signed: bool = False
    _ended: dict[str, str] = field(default_factory=dict)
    """Cell -> the event that ended it."""
    _began: dict[tuple[str, int], tuple[datetime, bool]] = field(default_factory=dict)
    """(Cell, attempt) -> when it began, and whether there was a wait before."""
    _waited: dict[tuple[str, int], Waited] = field(default_factory=dict)

    def read(self, text: str) -> list[Ended]:
        """Read the text after the lines read so far; return the cells that ended in it.

        A last line without its end is left for the next call.
        """
        before, damaged = len(self.ended), []
        for line in text.split("\n")[:-1]:
            self.lines += 1
            rest = self._take_line(line)
            if rest and _may_be_cut(rest):
                self.torn += 1
            elif rest:
                damaged.append(rest)
        if damaged:
            shown = ascii(damaged[0][:_SHOWN]) + ("..." if len(damaged[0]) > _SHOWN else "")
            lines = "a line is" if len(damaged) == 1 else f"{len(damaged)} lines are"
            self.damage.append(f"{lines} damaged: {shown}. A cell whose end cannot be read there is measured again")
        return self.ended[before:]

    def _take_line(self, line: str) -> str:
        """Read the events of a line; return the rest, which is no event of this job."""
        rest, at = "", 0
        for found in _SUM.finditer(line):
            start = self._start_of(line, max(at, found.start() - _LONGEST), found)
            if start is not None and self._take(line[start : found.start()]):
                self._signed = True
                rest += line[at:start]
            else:
                rest += line[at : found.end()]
            at = found.end()
            if line.startswith(" .", at) and start is not None:
                at += 2
        rest += line[at:]
        if at == 0 and not self._signed and line.endswith(" .") and self._take(line[:-2]):
            return ""
        return rest

    def _start_of(self, line: str, first: int, found: re.Match[str]) -> int | None:
        """Return where the event before a sum begins; None when no event of this job has this sum."""
        starts = [word.start() for word in _WORD.finditer(line, first, found.end())]
        for start in starts[-_MOST_WORDS:]:
            event = f"{self.job} {line[start : found.start()]}\n".encode("utf-8", "replace")
            if hashlib.sha256(event).hexdigest()[:16] == found[1]:
                return start
        return None

    def _take(self, event: str) -> bool:
        """Read an event; return False when no runner writes such text."""
        word, _, rest = event.partition(" ")
        if word not in _EVENTS or not (match := re.fullmatch(_EVENTS[word], rest)):
            return False
        if word == "runner":
            self.runners, self.finished = self.runners + 1, False
        elif word == "waited":
            too_hot = None if match[4] == "-" else match[4]
            kind = match[5] if too_hot and match[5] and match[5] != "-" else ""
            waited = Waited(seconds=int(match[3]) / TICKS_PER_S, too_hot=too_hot, kind=kind)
            self._waited[match[1], int(match[2])] = waited
        elif word == "begin":
            began_at = datetime.fromtimestamp(int(match[3]), UTC)
            self._began[match[1], int(match[2])] = began_at, match[4] == "waited"
        elif word == "end":
            self._end(event, match)
        elif word == "lost":
            self.damage.append("it was empty or gone, although cells had been measured: they are measured again")
        elif word == "finished":
            self.finished = True
        return True

    def _end(self, event: str, match: re.Match[str]) -> None:
        cell, attempt, status, how, wall, cpu, sha256 = match.groups()
        key = cell, int(attempt)
        if cell in self._ended:
            how_often = "twice the same" if self._ended[cell] == event else "twice, each time in another way"
            self.damage.append(f"{cell} ends {how_often}: the first one counts")
        elif key not in self._began or (self._began[key][1] and key not in self._waited):
            self.damage.append(f"{cell} ends, but the line about its start or its wait is lost: it is measured again")
        else:
            self._ended[cell] = event
            self.ended.append(
                Ended(
                    cell=cell,
                    attempt=int(attempt),
                    exit_status=int(status),
                    how="exited" if how == "exited" else "timeout" if how == "timeout" else "abandoned",
                    wall_s=int(wall) / TICKS_PER_S,
                    runner_cpu_s=int(cpu) / TICKS_PER_S,
                    sha256=sha256,
                    began_at=self._began[key][0],
                    waited=self._waited.get(key),
                )
            )


def _may_be_cut(line: str) -> bool:
    """Return whether a kill in the middle of a write can leave this line: an event without its end."""
    word, space, _ = line.partition(" ")
    begins = word in _EVENTS if space else any(known.startswith(word) for known in _EVENTS)
    return begins and re.fullmatch(r"[\x20-\x7e]*", line) is not None and not re.search(r" \.$|#[0-9a-f]{16}", line)
