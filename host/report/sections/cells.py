"""The section of all cells: every campaign's table, as the terminal shows it."""

from __future__ import annotations

from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.rows import CellRow, EvaluatedCampaign
from smoothdroid.host.report.sections.section import OPEN_ROWS, SectionContent, SectionTable, TableCell, number_cell
from smoothdroid.host.report.tables.cells import CellColumn, columns


def build(data: ReportData) -> SectionContent | None:
    """Build a table for each campaign; where there are many cells, one for each test, folded. None without cells."""
    if not data.campaigns:
        return None
    many = sum(len(evaluated.rows) for evaluated in data.campaigns) > OPEN_ROWS
    tables = []
    for evaluated in data.campaigns:
        shown = columns(evaluated)
        numbers = frozenset(column.head for column in shown if not column.left)
        title = f"{evaluated.title} ({evaluated.caveat})" if evaluated.caveat else evaluated.title
        for test, rows in _by_test(evaluated) if many else [("", evaluated.rows)]:
            lines = [[_cell(row, column) for column in shown] for row in rows]
            caption = f"{title}{test}: {len(rows)} cells"
            tables.append(SectionTable(caption, [column.head for column in shown], lines, numbers, folded=many))
    notes = dict.fromkeys(note for evaluated in data.campaigns for note in evaluated.notes)
    return SectionContent([*notes], tables, summary="all cells" if many else "")


def _by_test(evaluated: EvaluatedCampaign) -> list[tuple[str, list[CellRow]]]:
    tests = dict.fromkeys(row.test for row in evaluated.rows)
    return [(f", {test}", [row for row in evaluated.rows if row.test == test]) for test in tests]


def _cell(row: CellRow, column: CellColumn) -> TableCell:
    text, rejected = column.text(row), row.tokens_per_s is not None and not row.valid
    return TableCell(text, rejected=rejected) if column.left else number_cell(text, rejected=rejected)
