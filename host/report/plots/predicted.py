"""The plot of measured against predicted tokens/s, with the ceiling of the SoC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.report.data.phone_results import PhoneResults
from smoothdroid.host.report.data.predicted import PredictedSetting
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.style import COLOURS, INK, PANEL_INCHES, bars, legend, look, panel
from smoothdroid.host.results.statistics import Interval

MOST_DRAWN = 16
"""Settings in a figure; the table has all."""


def draw(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each phone that has predictions."""
    for phone, settings in data.predictions:
        if settings:
            yield _figure(phone, settings[:MOST_DRAWN])


def _figure(phone: PhoneResults, settings: Sequence[PredictedSetting]) -> ReportFigure:
    figure, (axes,) = panel(inches=(PANEL_INCHES[0], 1.6 + 0.34 * len(settings)))
    handles = list(_draw(axes, settings))
    names = [f"{short(one.best.row.model, 30)}\n{short(one.best.row.label, 30)}" for one in settings]
    axes.set_yticks(range(len(settings)), names, fontsize=7)
    axes.set_ylim(len(settings) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(
        min(min(_ends(one.best.rate)[0], one.against.expected.low) for one in settings) / 1.3,
        max(max(_ends(one.best.rate)[1], one.against.expected.ceiling) for one in settings) * 1.3,
    )
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("tokens/s")
    axes.set_title(f"{short(phone.title, 50)}: measured against predicted", fontsize=9)
    legend(figure, handles, ["predicted", "ceiling", "measured"])
    description = "; ".join(
        f"{one.best.row.model}, {one.best.row.label}: {number(one.best.rate.mean)} tokens/s, predicted "
        f"{one.interval}, ceiling {number(one.against.expected.ceiling)}: {one.against.verdict}"
        for one in settings
    )
    return ReportFigure(f"Measured against predicted, {phone.title}", description, figure)


def _ends(rate: Interval) -> tuple[float, float]:
    """Return the ends of an interval that a logarithmic axis can hold; the mean itself where there are none."""
    return (rate.low if rate.low > 0 else rate.mean, rate.high if rate.high > 0 else rate.mean)


def _draw(axes: Axes, settings: Sequence[PredictedSetting]) -> Iterator[Any]:
    places = range(len(settings))
    expected = [one.against.expected for one in settings]
    low, width = [one.low for one in expected], [one.high - one.low for one in expected]
    yield axes.barh(places, width, left=low, height=0.5, color=COLOURS[5], alpha=0.45)
    yield axes.scatter([one.ceiling for one in expected], places, marker="|", s=220, color=INK)
    rates = [one.best.rate for one in settings]
    yield axes.errorbar(
        [rate.mean for rate in rates],
        places,
        xerr=bars(rates),
        linestyle="none",
        markersize=5,
        capsize=3,
        **look(1),
    )
