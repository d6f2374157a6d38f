"""The plot of phones side by side: the best setting of each model on each phone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes

from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.report.data.phone_results import BestSetting, PhoneResults, common_tests
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.safe_text import line, short
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.style import PANEL_INCHES, bars, legend, look, panel
from smoothdroid.host.results.statistics import CONFIDENCE

PhoneBest = tuple[PhoneResults, list[BestSetting]]
"""A phone, and its best settings in one test."""


def draw(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each test that more than one phone has a valid cell of."""
    for test in common_tests(data.phones):
        best = [(phone, [one for one in phone.best_settings if one.row.label == test]) for phone in data.phones]
        yield _figure(test, [(phone, settings) for phone, settings in best if settings])


def _figure(test: str, phones: Sequence[PhoneBest]) -> ReportFigure:
    models = list(dict.fromkeys(best.row.model for _, settings in phones for best in settings))
    lines = len(models) + 1  # a phone takes a line for each model, and an empty one
    height = 1.4 + max(0.5, 0.13 * lines) * len(phones) + 0.18 * len(models)
    figure, (axes,) = panel(inches=(PANEL_INCHES[0], height))
    handles = list(_draw_models(axes, phones, models))
    middles = [place * lines + (len(models) - 1) / 2 for place in range(len(phones))]
    axes.set_yticks(middles, [_name(phone) for phone, _ in phones], fontsize=8)
    axes.set_ylim(len(phones) * lines - 1, -1)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"tokens/s ({CONFIDENCE:.0%} interval)")
    axes.set_title(f"{short(test, 40)}: best valid setting on each phone", fontsize=9)
    legend(figure, handles, [short(model, 44) for model in models])
    return ReportFigure(line(f"{test} on each phone"), _description(phones), figure)


def _draw_models(axes: Axes, phones: Sequence[PhoneBest], models: Sequence[str]) -> Iterator[Any]:
    for index, model in enumerate(models):
        places = [
            (place * (len(models) + 1) + index, best.rate)
            for place, (_, settings) in enumerate(phones)
            for best in settings
            if best.row.model == model
        ]
        yield axes.errorbar(
            [rate.mean for _, rate in places],
            [place for place, _ in places],
            xerr=bars([rate for _, rate in places]),
            linestyle="none",
            markersize=5,
            capsize=3,
            **look(index),
        )


def _name(phone: PhoneResults) -> str:
    return short(phone.title, 32) + ("\n(emulated: not a speed)" if phone.emulated else "")


def _description(phones: Sequence[PhoneBest]) -> str:
    return "; ".join(
        f"{phone.title}, {best.row.model}: {number(best.rate.mean)} tokens/s"
        for phone, settings in phones
        for best in settings
    )
