"""The section of a report, whatever it is written as: sentences, tables, figures and commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from smoothdroid.host.report.plots.figure import ReportFigure

NOT_MEASURED = "not measured"
NONE_VALID = "none valid"

OPEN_ROWS = 40
"""Rows that a table, or the tables of cells together, may have before they are folded."""

OPEN_FIGURES = 8
"""Figures that a section of the page shows; the others are folded."""


@dataclass(frozen=True)
class TableCell:
    """A cell of a table."""

    text: str
    note: str = ""
    """Small print below the text: an interval, or the source of a figure."""
    value: float | None = None
    """The number that the column is sorted by; None: it is sorted by text."""
    rejected: bool = False
    """Whether the number was rejected, and is shown as such."""


@dataclass(frozen=True)
class SectionTable:
    """A table, whose first column names the row."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    numbers: frozenset[str] = frozenset()
    """Heads of the columns that are aligned right."""
    sortable: bool = True
    folded: bool = False
    """Whether it is shown only on request, because it is long."""


@dataclass(frozen=True)
class SectionContent:
    """The content of a section without its figures."""

    sentences: Sequence[str] = ()
    tables: Sequence[SectionTable] = ()
    commands: Sequence[str] = ()
    summary: str = ""
    """The line under which Markdown folds the whole section; empty: it is not folded."""


@dataclass(frozen=True)
class Section:
    """A section of a report with its heading."""

    id: str
    """The anchor in the page."""
    title: str
    content: SectionContent
    figures: Sequence[ReportFigure]

    @property
    def open_figures(self) -> Sequence[ReportFigure]:
        """The figures that are shown at once."""
        return self.figures[:OPEN_FIGURES]

    @property
    def more_figures(self) -> Sequence[ReportFigure]:
        """The figures that are shown on request."""
        return self.figures[OPEN_FIGURES:]


def number_cell(text: str, *, rejected: bool = False) -> TableCell:
    """Return a cell that is sorted by the number that its text begins with: `(9.50)`, `0.00373 ± 0.00031`."""
    number = re.match(r"\(?(-?\d+(?:\.\d+)?)", text)
    return TableCell(text, value=float(number[1]) if number else None, rejected=rejected)


def cell_or_missing(text: str | None, note: str = "", value: float | None = None) -> TableCell:
    """Return a cell; one that says `not measured` where there is no text."""
    return TableCell(text, note, value) if text else TableCell(NOT_MEASURED)


def facts_table(caption: str, facts: dict[str, str]) -> SectionTable:
    """Return a table with a row for each property that has a value."""
    rows = [[TableCell(name), TableCell(value)] for name, value in facts.items() if value]
    return SectionTable(caption, ("property", "value"), rows, sortable=False)
