"""The section of phones side by side: the tests that more than one phone has a valid cell of."""

from __future__ import annotations

from smoothdroid.host.report.data.numbers import certainty, number
from smoothdroid.host.report.data.phone_results import BestSetting, common_tests
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import SectionContent, SectionTable, TableCell, cell_or_missing


def build(data: ReportData) -> SectionContent | None:
    """Build a table for each common test, with a column for each phone; None where there is no such test."""
    tables = []
    for test in common_tests(data.phones):
        best = [{one.row.model: one for one in phone.best_settings if one.row.label == test} for phone in data.phones]
        models = list(dict.fromkeys(model for of_phone in best for model in of_phone))
        rows = [[TableCell(model), *(_cell(of_phone.get(model)) for of_phone in best)] for model in models]
        heads = ("model", *(phone.title for phone in data.phones))
        caption = f"{test}: tokens/s of the best valid setting"
        tables.append(SectionTable(caption, heads, rows, frozenset(heads[1:])))
    return SectionContent(tables=tables) if tables else None


def _cell(best: BestSetting | None) -> TableCell:
    if best is None:
        return cell_or_missing(None)
    return TableCell(number(best.rate.mean), f"{certainty(best.rate)}; {best.row.setting}", best.rate.mean)
