"""The section of energy per token."""

from __future__ import annotations

from smoothdroid.host.report.data.numbers import with_interval
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import OPEN_ROWS, SectionContent, SectionTable, TableCell

HEADS = ("phone", "model", "test", "setting", "J/token")


def build(data: ReportData) -> SectionContent | None:
    """Build a table of the valid cells whose energy is known; None where no speed was measured."""
    if not data.phones:
        return None
    rows = [
        [
            TableCell(phone.title),
            TableCell(row.model),
            TableCell(row.label),
            TableCell(row.setting),
            TableCell(with_interval(joules), row.source, joules.mean),
        ]
        for phone in data.phones
        for row in phone.rows
        if (joules := row.judged.joules_per_token) is not None and row.valid
    ]
    if not rows:
        return SectionContent(["J/token: not measured. It takes a valid cell, measured on battery and unplugged."])
    sentences = ["Energy of the whole phone on battery, in valid cells during which it was not charging."]
    table = SectionTable("Joules per token", HEADS, rows, frozenset({"J/token"}), folded=len(rows) > OPEN_ROWS)
    return SectionContent(sentences, [table])
