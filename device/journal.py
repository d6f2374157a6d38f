"""The runner's journal: what happened on the phone, an event a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel, ConfigDict

TICKS_PER_S = 100  # of /proc/PID/stat: USER_HZ, which is 100 on every CPU that Android runs on

How = Literal["exited", "timeout", "abandoned"]


class Waited(BaseModel):
    """The wait for a cool phone before a cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    too_hot: str | None = None
    """The zone that was still too hot when the time was over; None when the phone got as cool as asked."""


@dataclass(frozen=True)
class Ended:
    """An attempt at a cell that came to its end."""

    cell: str
    attempt: int
    exit_status: int
    """As a shell tells it: 128 + signal for a death by signal."""
    how: How
    """`timeout`: the runner ended it. `abandoned`: every attempt took the runner or the phone down."""
    wall_s: float
    runner_cpu_s: float
    """What watching it cost."""
    sha256: str
    """Of standard output, standard error and samples, one after the other; `-` when there are none."""
    began_at: datetime
    """By the phone's clock, which somebody may set."""
    waited: Waited | None


@dataclass
class Journal:
    """A journal as far as it was read."""

    lines: int = 0
    """Whole lines read so far."""
    torn: int = 0
    """Lines among them that a kill cut short."""
    runners: int = 0
    """Runners started on this job; all but the last one were killed."""
    finished: bool = False
    ended: list[Ended] = field(default_factory=list)
    _began: dict[tuple[str, int], datetime] = field(default_factory=dict)
    _waited: dict[tuple[str, int], Waited] = field(default_factory=dict)

    def read(self, text: str) -> list[Ended]:
        """Take in what came after the lines read so far; returns the cells that ended in it.

        A last line without its end is left for the next call. Raises ValueError for a line that no runner writes.
        """
        before = len(self.ended)
        for line in _whole_lines(text):
            self.lines += 1
            if line.endswith(" ."):
                self._take(line[:-2])
            elif line:
                self.torn += 1
        return self.ended[before:]

    def _take(self, event: str) -> None:
        if re.fullmatch(r"runner \d+ \S+ \d+", event):
            self.runners += 1
        elif match := re.fullmatch(r"waited (\S+) (\d+) (-?\d+) (\S+) (\S+)", event):
            too_hot = None if match[4] == "-" else match[4]
            self._waited[match[1], int(match[2])] = Waited(seconds=int(match[3]) / TICKS_PER_S, too_hot=too_hot)
        elif match := re.fullmatch(r"begin (\S+) (\d+) (\d{1,11})", event):
            self._began[match[1], int(match[2])] = datetime.fromtimestamp(int(match[3]), timezone.utc)
        elif match := re.fullmatch(
            r"end (\S+) (\d+) (\d{1,3}) (exited|timeout|abandoned) (\d+) (-?\d+) ([0-9a-f]{64}|-)", event
        ):
            key = match[1], int(match[2])
            if key not in self._began:
                raise ValueError(f"the journal ends what it did not begin: {event[:200]}")
            if any((ended.cell, ended.attempt) == key for ended in self.ended):
                raise ValueError(f"the journal ends twice: {event[:200]}")
            how: How = "exited" if match[4] == "exited" else "timeout" if match[4] == "timeout" else "abandoned"
            self.ended.append(
                Ended(
                    cell=match[1],
                    attempt=int(match[2]),
                    exit_status=int(match[3]),
                    how=how,
                    wall_s=int(match[5]) / TICKS_PER_S,
                    runner_cpu_s=int(match[6]) / TICKS_PER_S,
                    sha256=match[7],
                    began_at=self._began[key],
                    waited=self._waited.get(key),
                )
            )
        elif event == "finished":
            self.finished = True
        elif not re.fullmatch(r"stopped \S+", event):
            raise ValueError(f"no runner writes this into its journal: {event[:200]}")


def _whole_lines(text: str) -> Iterable[str]:
    return text.split("\n")[:-1]
