"""The section of best settings: the fastest valid setting of each model in each test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smoothdroid.host.report.data.numbers import certainty, number, span
from smoothdroid.host.report.data.phone_results import (
    BestSetting,
    PhoneResults,
    main_test,
)
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import OPEN_ROWS, SectionContent, SectionTable, TableCell
from smoothdroid.host.results.statistics import CONFIDENCE, Interval

MOST_ALIKE = 3
"""Settings that are named as equally good; the others are counted."""

SELECTION = (
    "The fastest of many settings is also the luckiest of the good ones. Its interval accounts for that selection. "
    f"With a probability of {CONFIDENCE:.0%}, the truly fastest setting is the one shown or one listed as equally good."
)
INTERVAL = f"{CONFIDENCE:.0%} interval"
HEADS = ("model", "test", "tokens/s", INTERVAL, "best setting", "equally good")
NUMBERS = frozenset({"tokens/s", INTERVAL})


def build(data: ReportData) -> SectionContent:
    """Build the tables of best settings, and a sentence for the fastest prefill and decode of each phone."""
    tables: list[SectionTable] = []
    sentences: list[str] = []
    for phone in data.phones:
        best = sorted(phone.best_settings, key=lambda one: (one.row.model, not one.row.is_prefill, one.row.label))
        if best:
            tables += _tables(phone, best)
            sentences += _fastest(phone, best)
        else:
            sentences.append(f"{phone.title}: no valid cell. The reasons are below.")
    if not data.phones:
        sentences.append("No speed was measured: these results contain evaluations only.")
    if any(best.rate.n > 1 for phone in data.phones for best in phone.best_settings):
        sentences.append(SELECTION)
    return SectionContent(sentences, tables)


def _tables(phone: PhoneResults, best: Sequence[BestSetting]) -> Iterator[SectionTable]:
    """Yield one table; where it is long, first one of each model's main tests, and then the whole, folded."""
    caption = f"{phone.title} ({phone.caveat})" if phone.caveat else phone.title
    if len(best) > OPEN_ROWS:
        main = {main_test(phone.rows, of_prefill=True), main_test(phone.rows, of_prefill=False)}
        yield _table(caption, [one for one in best if one.row.label in main])
        caption = f"{caption}: every test and depth"
    yield _table(caption, best)


def _table(caption: str, best: Sequence[BestSetting]) -> SectionTable:
    return SectionTable(caption, HEADS, [_row(one) for one in best], NUMBERS, folded=len(best) > OPEN_ROWS)


def _fastest(phone: PhoneResults, best: Sequence[BestSetting]) -> Iterator[str]:
    for of_prefill, what in ((True, "prefill"), (False, "decode")):
        matching = [one for one in best if one.row.is_prefill == of_prefill]
        if matching:
            fastest = max(matching, key=lambda one: one.rate.mean)
            row, rate = fastest.row, fastest.rate
            emulated = f" ({phone.caveat})" if phone.caveat else ""
            interval = f"{INTERVAL} " if rate.n > 1 else ""
            yield (
                f"{phone.title}: fastest {what} {number(rate.mean)} tokens/s, {interval}{certainty(rate)}: "
                f"{row.model}, {row.label}, {row.setting}{emulated}."
            )


def _row(best: BestSetting) -> list[TableCell]:
    named = "; ".join(row.setting for row in best.alike[:MOST_ALIKE])
    more = len(best.alike) - MOST_ALIKE
    alike = f"{named}; and {more} more" if more > 0 else named or "none"
    return [
        TableCell(best.row.model),
        TableCell(best.row.label),
        TableCell(number(best.rate.mean), value=best.rate.mean),
        _interval(best.rate),
        TableCell(best.row.setting, best.row.source),
        TableCell(alike, f"of {best.measured} measured", len(best.alike)),
    ]


def _interval(rate: Interval) -> TableCell:
    if rate.n == 1:
        return TableCell("-", "one process")
    return TableCell(span(rate), f"{rate.n} processes", rate.low)
