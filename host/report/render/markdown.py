"""The Markdown of a report, for a pull request: the sections of the page with fewer figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smoothdroid.host.report.data.safe_text import block
from smoothdroid.host.report.data.safe_text import markdown as shown
from smoothdroid.host.report.sections.report import Report
from smoothdroid.host.report.sections.section import Section, SectionTable, TableCell

MOST_FIGURES = 4
"""Figures in a section: a pull request should not take long to scroll through."""


def markdown(report: Report, notices: Sequence[str]) -> str:
    """Return the sections of the page, in the same order; long tables are folded."""
    lines = [f"# {shown(report.title)}", ""]
    for caveat in (*report.caveats, *notices):
        lines += [f"> **{shown(caveat)}**", ""]
    if report.damage:
        lines += ["> Not everything could be read:", *(f"> - {shown(damaged)}" for damaged in report.damage), ""]
    for section in report.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> Iterator[str]:
    content = section.content
    yield from (f"## {shown(section.title)}", "")
    yield from _folded(content.summary) if content.summary else ()
    for sentence in content.sentences:
        yield from (shown(sentence), "")
    for figure in section.figures[:MOST_FIGURES]:
        yield from (f"![{shown(figure.title)}](figures/{figure.name}.png)", "")
    for table in content.tables:
        yield from _table(table, folded=table.folded and not content.summary)
    for command in content.commands:
        fence = "`" * max(3, 1 + max(_backticks(command), default=0))
        yield from (f"{fence}sh", block(command), fence, "")
    yield from ("</details>", "") if content.summary else ()


def _table(table: SectionTable, *, folded: bool) -> Iterator[str]:
    yield from (f"**{shown(table.caption)}**", "")
    yield from _folded("table") if folded else ()
    yield "| " + " | ".join(shown(head) for head in table.heads) + " |"
    yield "|" + "|".join("---:" if head in table.numbers else "---" for head in table.heads) + "|"
    for row in table.rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""
    yield from ("</details>", "") if folded else ()


def _folded(summary: str) -> tuple[str, str]:
    return f"<details><summary>{summary}</summary>", ""


def _cell(cell: TableCell) -> str:
    return shown(cell.text) + (f"<br><sub>{shown(cell.note)}</sub>" if cell.note else "")


def _backticks(text: str) -> list[int]:
    """Return the lengths of runs of backticks; a fence must be longer."""
    return [len(run) for run in "".join(c if c == "`" else " " for c in text).split()]
