"""The section of quality: the distance of evaluated models from their reference."""

from __future__ import annotations

from smoothdroid.host.report.data.model_files import pairs
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import SectionContent, SectionTable, TableCell, number_cell
from smoothdroid.host.report.tables import quality as quality_tables


def build(data: ReportData) -> SectionContent | None:
    """Build a table for each evaluation, with its comparisons as sentences; None without evaluations."""
    if not data.evaluations:
        return None
    tables, sentences = [], []
    for quality in data.evaluations:
        rows = [[TableCell(name), *map(number_cell, figures)] for name, *figures in quality_tables.cells(quality)]
        caption = f"Distance from {quality.evaluation.reference.name} ({quality.name})"
        tables.append(SectionTable(caption, quality_tables.HEAD, rows, frozenset(quality_tables.HEAD[1:])))
        # Smoothed against plain is the question; without such a pair, each candidate is compared with the first.
        joined = pairs(quality.evaluation, data.model_files)
        verdicts = [verdict for plain, smooth in joined if (verdict := quality.verdict(plain, smooth))]
        sentences += [quality.conditions, *(verdicts or quality.verdicts)]
    sentences.append(
        "An arrow leads from a plain model to its smoothed one. The numbers hold for the kernels that computed them."
    )
    return SectionContent(sentences, tables)
