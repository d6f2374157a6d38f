"""The section of cells without a valid result: rejected, failed or not measured yet, with reasons and advice."""

from __future__ import annotations

from smoothdroid.host.report.data.phone_results import rejection_reasons
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import SectionContent, SectionTable, TableCell

HEADS = ("reason", "cells", "example", "what to do")


def build(data: ReportData) -> SectionContent | None:
    """Build a table of reasons for each phone; None where every cell is valid."""
    tables = []
    for phone in data.phones:
        rows = [
            [TableCell(check), TableCell(str(count), value=count), TableCell(example), TableCell(advice)]
            for check, count, example, advice in rejection_reasons(phone.rows)
        ]
        if rows:
            invalid = sum(not row.valid for row in phone.rows)
            caption = f"{phone.title}: {invalid} of {len(phone.rows)} cells"
            tables.append(SectionTable(caption, HEADS, rows, frozenset({"cells"})))
    sentences = [
        "Rejected measurements are shown in brackets or as hollow points, and are part of no mean. A cell can have "
        "several reasons."
    ]
    return SectionContent(sentences, tables) if tables else None
