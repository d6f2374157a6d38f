"""The section of measured against predicted speed."""

from __future__ import annotations

from collections.abc import Sequence

from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.report.data.phone_results import PhoneResults
from smoothdroid.host.report.data.predicted import PredictedSetting
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import SectionContent, SectionTable, TableCell
from smoothdroid.host.results.statistics import CONFIDENCE

PREDICTED = f"predicted, {CONFIDENCE:.0%} interval"
HEADS = ("model", "test", "tokens/s", PREDICTED, "ceiling", "share of ceiling", "result")
NUMBERS = frozenset({"tokens/s", PREDICTED, "ceiling", "share of ceiling"})


def build(data: ReportData) -> SectionContent | None:
    """Build a table for each phone that has predictions; None where there is none."""
    tables = [table(phone, settings) for phone, settings in data.predictions if settings]
    sentences = [
        "The best valid setting of each model and test, next to what `smoothdroid predict` expects of this model on "
        "this SoC. The interval is wide. No result can exceed the ceiling: one that does was not measured as intended."
    ]
    return SectionContent(sentences, tables) if tables else None


def table(phone: PhoneResults, settings: Sequence[PredictedSetting]) -> SectionTable:
    """Return a table with a row for each setting."""
    rows = [
        [
            TableCell(one.best.row.model),
            TableCell(one.best.row.label),
            TableCell(number(one.best.rate.mean), value=one.best.rate.mean),
            TableCell(one.interval, value=one.against.expected.middle),
            TableCell(number(one.against.expected.ceiling), value=one.against.expected.ceiling),
            TableCell(f"{one.against.of_ceiling:.0%}", value=one.against.of_ceiling),
            TableCell(one.against.verdict),
        ]
        for one in settings
    ]
    return SectionTable(phone.title, HEADS, rows, NUMBERS)
