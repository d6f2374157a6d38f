"""The table of a campaign's cells: its columns, and the table on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table

from smoothdroid.host.report.data.numbers import mean, span, with_interval
from smoothdroid.host.report.data.rows import CellRow, EvaluatedCampaign
from smoothdroid.host.results.cpu_masks import ANY
from smoothdroid.host.results.statistics import CONFIDENCE


@dataclass(frozen=True)
class CellColumn:
    """A column of the table of cells."""

    head: str
    text: Callable[[CellRow], str]
    left: bool = False
    needed: Callable[[CellRow], bool] = lambda row: True
    """Whether a row has an entry; a column without any entry is left out."""


REMARK_WIDTH = 32
"""The least width of the remark on a terminal, in characters."""

COLUMNS = (
    CellColumn("model", lambda row: row.model, left=True),
    CellColumn("test", lambda row: row.test, left=True),
    CellColumn("settings", lambda row: row.settings, left=True, needed=lambda row: bool(row.settings)),
    CellColumn("CPUs", lambda row: row.cpus, left=True, needed=lambda row: row.cpus != ANY),
    CellColumn("threads", lambda row: str(row.threads)),
    CellColumn("tokens/s", lambda row: _rate(row)),
    CellColumn(f"{CONFIDENCE:.0%} interval", lambda row: span(row.tokens_per_s)),
    CellColumn("processes", lambda row: str(len(row.judged.runs)) if row.tokens_per_s else "-"),
    CellColumn("repetitions", lambda row: str(len(row.judged.rates)) if row.tokens_per_s else "-"),
    CellColumn(
        "first token, s", lambda row: with_interval(row.first_token_s), needed=lambda row: row.first_token_s is not None
    ),
    CellColumn(
        "J/token",
        lambda row: with_interval(row.judged.joules_per_token),
        needed=lambda row: row.judged.joules_per_token is not None,
    ),
    CellColumn("verdict", lambda row: row.verdict, left=True),
    CellColumn("remark", lambda row: row.remark, left=True),
)


def columns(evaluated: EvaluatedCampaign) -> list[CellColumn]:
    """Return the columns that this campaign needs."""
    return [column for column in COLUMNS if any(column.needed(row) for row in evaluated.rows)]


def terminal(evaluated: EvaluatedCampaign) -> Table:
    """Return a table for rich to print."""
    caption = "\n".join(filter(None, [evaluated.caveat, *evaluated.notes]))
    table = Table(title=evaluated.title, caption=caption or None)
    shown = columns(evaluated)
    for column in shown:
        # Folded and not cut: the names of models differ at their ends.
        width = REMARK_WIDTH if column.head == "remark" else None
        table.add_column(column.head, justify="left" if column.left else "right", overflow="fold", min_width=width)
    for row in evaluated.rows:
        table.add_row(*(column.text(row) for column in shown))
    return table


def _rate(row: CellRow) -> str:
    """Return the mean, in brackets where it was rejected."""
    text = mean(row.tokens_per_s)
    return text if row.valid or row.tokens_per_s is None else f"({text})"
