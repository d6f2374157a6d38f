"""Rows -> a table on the terminal and in Markdown."""

from __future__ import annotations

from rich.table import Table

from host.bench.stats import CONFIDENCE, Interval
from host.report.rows import Row, Section

HEAD = ("model", "test", "threads", "tokens/s", f"{CONFIDENCE:.0%} interval", "repetitions", "remark")


def terminal(section: Section) -> Table:
    """A table for rich to print."""
    table = Table(title=section.title, caption=section.caveat or None, title_justify="left")
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("model", "test", "remark") else "right")
    for row in section.rows:
        table.add_row(*_cells(row))
    return table


def markdown(sections: list[Section]) -> str:
    """A Markdown document with a table a section."""
    parts = ["# Tokens per second\n"]
    for section in sections:
        campaign = section.campaign
        phone = campaign.phone
        parts.append(f"## {section.title}\n")
        system = f"Android {phone.android}" if phone.android else f"kernel {phone.kernel}"
        parts.append(
            f"{campaign.started_at:%Y-%m-%d}, {system}, {' + '.join(map(str, phone.clusters))}; "
            f"llama.cpp {campaign.build_commit}, build {campaign.build_id[:8]} ({campaign.build_isa}), "
            f"smoothdroid {campaign.smoothdroid}.\n"
        )
        if section.caveat:
            parts.append(f"**{section.caveat[0].upper()}{section.caveat[1:]}.**\n")
        parts.append("| " + " | ".join(HEAD) + " |")
        parts.append("|---|---|---:|---:|---:|---:|---|")
        parts += ["| " + " | ".join(map(_escaped, _cells(row))) + " |" for row in section.rows]
        parts.append("")
    return "\n".join(parts)


def _escaped(cell: str) -> str:
    """One line without a bar of the table's own: a phone's words may hold anything."""
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").split())


def _cells(row: Row) -> tuple[str, ...]:
    head = (row.model, row.test, str(row.threads))
    rate = row.tokens_per_s
    if rate is None:
        return (*head, "-", "-", "-", row.remark)
    return (*head, number(rate.mean), _range(rate), str(rate.n), row.remark)


def _range(rate: Interval) -> str:
    return f"{number(rate.low)} to {number(rate.high)}" if rate.n > 1 else "-"


def number(value: float) -> str:
    """Three significant digits and whatever else stands before the point, no exponent."""
    exponent = int(f"{value:.2e}".partition("e")[2])  # of the rounded value: 9.999 is 10.0
    return f"{value:.{max(0, 2 - exponent)}f}"
