"""What a report is put together from, whatever it is written as: parts with sentences, tables and pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from smoothdroid.host.report.plots.figure import Picture

NOTHING = "not measured"
NOT_VALID = "none valid"


@dataclass(frozen=True)
class Cell:
    """Of a table."""

    text: str
    note: str = ""
    """Smaller, below: an interval, or where the figure is from."""
    value: float | None = None
    """What it is sorted by; None: by its text."""
    doubtful: bool = False


@dataclass(frozen=True)
class Table:
    """The first column names the row."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[str] = frozenset()
    """Heads of columns that are set flush right."""
    sortable: bool = True
    folded: bool = False
    """Too long to be looked at unasked."""


@dataclass(frozen=True)
class Part:
    """With a heading of its own."""

    title: str
    said: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    more: Sequence[Picture] = ()
    """Those that are shown when asked for."""
    commands: Sequence[str] = field(default=())


def figure(text: str, *, doubtful: bool = False) -> Cell:
    """Sorted by the number that it begins with: `(9.50)`, `0.00373 ± 0.00031`."""
    number = re.match(r"\(?(-?\d+(?:\.\d+)?)", text)
    return Cell(text, value=float(number[1]) if number else None, doubtful=doubtful)


def cell(text: str | None, note: str = "", value: float | None = None) -> Cell:
    """`not measured` where there is nothing."""
    return Cell(text, note, value) if text else Cell(NOTHING)
