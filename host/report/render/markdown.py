"""A report -> Markdown for a pull request: what must be read there; the page has the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smoothdroid.host.report.data.rows import Section
from smoothdroid.host.report.data.safe_text import block
from smoothdroid.host.report.data.safe_text import markdown as shown
from smoothdroid.host.report.sections.report import Report
from smoothdroid.host.report.sections.section import Cell, Part, Table
from smoothdroid.host.report.tables.cells import markdown as cells

PICTURES = 4
"""Of a part: what a pull request shows without scrolling for long."""

WHERE = ("Every cell", "How it was measured")
"""Parts that come at the end, folded or from the cells' own tables."""


def markdown(report: Report, notices: Sequence[str], sections: list[Section]) -> str:
    """The same parts as the page, in the same order; long tables are folded."""
    lines = [f"# {shown(report.title)}", ""]
    for caveat in (*report.caveats, *notices):
        lines += [f"> **{shown(caveat)}**", ""]
    if report.damage:
        lines += ["> Not everything could be read:", *(f"> - {shown(damaged)}" for damaged in report.damage), ""]
    for part in report.parts:
        lines += [*(_cells(part, sections) if part.title == WHERE[0] else _part(part))]
    return "\n".join(lines).rstrip() + "\n"


def _cells(part: Part, sections: list[Section]) -> Iterator[str]:
    many = any(table.folded for table in part.tables)
    yield from (f"## {part.title}", "")
    yield from ("<details><summary>all cells</summary>", "") if many else ()
    yield cells(sections)
    yield from ("</details>", "") if many else ()


def _part(part: Part) -> Iterator[str]:
    folded = part.title in WHERE
    yield from (f"## {shown(part.title)}", "")
    yield from ("<details><summary>versions, hashes, protocol</summary>", "") if folded else ()
    for said in part.said:
        yield from (shown(said), "")
    for picture in part.pictures[:PICTURES]:
        yield from (f"![{shown(picture.title)}](figures/{picture.name}.png)", "")
    for table in part.tables:
        yield from _table(table)
    for command in part.commands:
        fence = "`" * max(3, 1 + max((len(run) for run in _runs(command)), default=0))
        yield from (f"{fence}sh", block(command), fence, "")
    yield from ("</details>", "") if folded else ()


def _table(table: Table) -> Iterator[str]:
    yield from (f"**{shown(table.caption)}**", "")
    yield from ("<details><summary>table</summary>", "") if table.folded else ()
    yield "| " + " | ".join(shown(head) for head in table.heads) + " |"
    yield "|" + "|".join("---:" if head in table.numbers else "---" for head in table.heads) + "|"
    for row in table.rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""
    yield from ("</details>", "") if table.folded else ()


def _cell(cell: Cell) -> str:
    return shown(cell.text) + (f"<br><sub>{shown(cell.note)}</sub>" if cell.note else "")


def _runs(text: str) -> list[str]:
    """Backticks that stand together: a fence must be longer."""
    return ["`" * len(run) for run in "".join(c if c == "`" else " " for c in text).split()]
