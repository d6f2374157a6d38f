"""The section of tokens/s over threads; its figures are the threads plot's."""

from __future__ import annotations

from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import SectionContent


def build(data: ReportData) -> SectionContent | None:
    """Build a sentence where there is no figure, or only hollow points; None where nothing was to be measured."""
    if not data.campaigns:
        return None
    rows = [row for evaluated in data.campaigns for row in evaluated.rows]
    if not any(row.tokens_per_s and not row.judged.cell.test.sustained_s for row in rows):
        return SectionContent(["No figure: there is no measurement of prefill or decode."])
    return SectionContent([] if any(row.valid for row in rows) else ["No cell is valid: every point is hollow."])
