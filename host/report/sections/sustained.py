"""The section of sustained speed; its figures are the sustained plot's."""

from __future__ import annotations

from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import SectionContent


def build(data: ReportData) -> SectionContent | None:
    """Build the sentence that explains the figures; None where no sustained cell was measured."""
    rows = [row for evaluated in data.campaigns for row in evaluated.rows]
    if not any(row.judged.cell.test.sustained_s and row.tokens_per_s for row in rows):
        return None
    return SectionContent(
        [
            "How far the phone slows down is the result here; a slowdown is no reason for rejection. The time axis "
            "begins with the first repetition."
        ]
    )
