"""Rows -> a table on the terminal and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table

from smoothdroid.host.report.data.rows import Row, Section
from smoothdroid.host.report.data.safe_text import markdown as text
from smoothdroid.host.results.cpu_masks import ANY
from smoothdroid.host.results.statistics import CONFIDENCE, Interval


@dataclass(frozen=True)
class Column:
    """One of a table."""

    head: str
    cell: Callable[[Row], str]
    left: bool = False
    needed: Callable[[Row], bool] = lambda row: True
    """Whether a row has something to say in it; where none has, the column is left out."""


WIDE = 32  # of the remark on a terminal: a word a line is no sentence

COLUMNS = (
    Column("model", lambda row: row.model, left=True),
    Column("test", lambda row: row.test, left=True),
    Column("settings", lambda row: row.settings, left=True, needed=lambda row: bool(row.settings)),
    Column("CPUs", lambda row: row.cpus, left=True, needed=lambda row: row.cpus != ANY),
    Column("threads", lambda row: str(row.threads)),
    Column("tokens/s", lambda row: _rate(row)),
    Column(f"{CONFIDENCE:.0%} interval", lambda row: span(row.tokens_per_s)),
    Column("processes", lambda row: str(len(row.judged.runs)) if row.tokens_per_s else "-"),
    Column("repetitions", lambda row: str(len(row.judged.rates)) if row.tokens_per_s else "-"),
    Column(
        "first token, s", lambda row: with_interval(row.first_token_s), needed=lambda row: row.first_token_s is not None
    ),
    Column(
        "J/token",
        lambda row: with_interval(row.judged.joules_per_token),
        needed=lambda row: row.judged.joules_per_token is not None,
    ),
    Column("verdict", lambda row: row.verdict, left=True),
    Column("remark", lambda row: row.remark, left=True),
)


def columns(section: Section) -> list[Column]:
    """Those that this section needs."""
    return [column for column in COLUMNS if any(column.needed(row) for row in section.rows)]


def terminal(section: Section) -> Table:
    """A table for rich to print."""
    caption = "\n".join(filter(None, [section.caveat, *section.notes]))
    table = Table(title=section.title, caption=caption or None)
    shown = columns(section)
    for column in shown:
        # Folded and not cut: models are told apart by the ends of their names.
        width = WIDE if column.head == "remark" else None
        table.add_column(column.head, justify="left" if column.left else "right", overflow="fold", min_width=width)
    for row in section.rows:
        table.add_row(*(column.cell(row) for column in shown))
    return table


def markdown(sections: list[Section]) -> str:
    """Markdown with a table a section."""
    parts = []
    for section in sections:
        campaign = section.campaign
        phone = campaign.phone
        parts.append(f"### {text(section.title)}\n")
        system = f"Android {phone.android}" if phone.android else f"kernel {phone.kernel}"
        parts.append(
            text(
                f"{campaign.started_at:%Y-%m-%d}, {system}, {' + '.join(map(str, phone.clusters))}; "
                f"llama.cpp {campaign.build_commit}, build {campaign.build_id[:8]} ({campaign.build_isa}), "
                f"smoothdroid {campaign.smoothdroid}."
            )
            + "\n"
        )
        if section.caveat:
            parts.append(f"**{section.caveat[0].upper()}{section.caveat[1:]}.**\n")
        shown = columns(section)
        parts.append("| " + " | ".join(column.head for column in shown) + " |")
        parts.append("|" + "|".join("---" if column.left else "---:" for column in shown) + "|")
        parts += ["| " + " | ".join(text(column.cell(row)) for column in shown) + " |" for row in section.rows]
        parts.append("")
        parts += [f"- {text(note)}" for note in section.notes]
        parts.append("")
    return "\n".join(parts)


def _rate(row: Row) -> str:
    """In brackets where it is not to be believed."""
    shown = _mean(row.tokens_per_s)
    return shown if row.valid or row.tokens_per_s is None else f"({shown})"


def _mean(found: Interval | None) -> str:
    return number(found.mean) if found else "-"


def span(found: Interval | None) -> str:
    """`9.8 to 10.2`; `-` where there is no interval, as with one process."""
    return f"{number(found.low)} to {number(found.high)}" if found and math.isfinite(found.low) else "-"


def certainty(found: Interval) -> str:
    """`9.8 to 10.2`, or that there is no interval and why."""
    return span(found) if found.n > 1 else "one process, no interval"


def with_interval(found: Interval | None) -> str:
    """`10.0 (9.8 to 10.2)`, without the brackets where there is no interval."""
    return " ".join(filter(None, [_mean(found), f"({span(found)})" if span(found) != "-" else ""]))


def number(value: float) -> str:
    """Three significant digits and whatever else stands before the point, no exponent."""
    exponent = int(f"{value:.2e}".partition("e")[2])  # of the rounded value: 9.999 is 10.0
    return f"{value:.{max(0, 2 - exponent)}f}"
