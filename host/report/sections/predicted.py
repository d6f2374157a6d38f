"""The best of each model on a phone -> where it lies against what was predicted, as a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from smoothdroid.host.predict.results import measured_against
from smoothdroid.host.predict.roofline import Against
from smoothdroid.host.report.data.phone_results import Best, Group, question
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.plots.figure import Picture
from smoothdroid.host.report.plots.style import COLOURS, INK, PANEL_INCHES, bars, legend, look, panel
from smoothdroid.host.report.sections.section import Cell, Table
from smoothdroid.host.report.tables.cells import number
from smoothdroid.host.results.statistics import CONFIDENCE, Interval

MOST_DRAWN = 16
"""In one picture; the table has all."""


@dataclass(frozen=True)
class Held:
    """A best setting, held against what was expected."""

    best: Best
    against: Against


def held(group: Group) -> list[Held]:
    """The best settings that something is expected of; none of an emulated phone, whose speed is none."""
    if group.emulated:
        return []
    models = {model.sha256: model for section in group.sections for model in section.campaign.plan.models}
    soc = group.sections[0].campaign.phone.soc
    found = (
        (best, measured_against(best.rate.mean, best.row.judged.cell, models[best.row.judged.cell.model_sha256], soc))
        for best in group.bests
    )
    return [Held(best, against) for best, against in found if against]


def table(group: Group, found: Sequence[Held]) -> Table:
    """One row for each."""
    predicted, ceiling = f"predicted, {CONFIDENCE:.0%} interval", "of the ceiling"
    heads = ("model", "test", "tokens/s", predicted, "ceiling", ceiling, "it is")
    rows = [
        [
            Cell(one.best.row.model),
            Cell(question(one.best.row)),
            Cell(number(one.best.rate.mean), value=one.best.rate.mean),
            Cell(_interval(one.against), value=one.against.expected.middle),
            Cell(number(one.against.expected.ceiling), value=one.against.expected.ceiling),
            Cell(f"{one.against.of_ceiling:.0%}", value=one.against.of_ceiling),
            Cell(one.against.answer),
        ]
        for one in found
    ]
    return Table(group.title, heads, rows, frozenset({"tokens/s", predicted, "ceiling", ceiling}))


def picture(count: int, group: Group, found: Sequence[Held]) -> Picture:
    """What was measured as points, on what was predicted as bars that end at the ceiling at the latest."""
    drawn = found[:MOST_DRAWN]
    figure, (axes,) = panel(inches=(PANEL_INCHES[0], 1.6 + 0.34 * len(drawn)))
    handles = list(_draw(axes, drawn))
    names = [f"{short(one.best.row.model, 30)}\n{short(question(one.best.row), 30)}" for one in drawn]
    axes.set_yticks(range(len(drawn)), names, fontsize=7)
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(
        min(min(_ends(one.best.rate)[0], one.against.expected.low) for one in drawn) / 1.3,
        max(max(_ends(one.best.rate)[1], one.against.expected.ceiling) for one in drawn) * 1.3,
    )
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("tokens/s")
    axes.set_title(f"{short(group.title, 50)}: measured against predicted", fontsize=9)
    legend(figure, handles, ["predicted", "ceiling", "measured"])
    told = "; ".join(
        f"{one.best.row.model}, {question(one.best.row)}: {number(one.best.rate.mean)} tokens/s, predicted "
        f"{_interval(one.against)}, ceiling {number(one.against.expected.ceiling)}: {one.against.answer}"
        for one in drawn
    )
    return Picture(f"predicted-{count}", f"Measured against predicted, {group.title}", told, figure)


def _ends(rate: Interval) -> tuple[float, float]:
    """The ends of an interval that a logarithmic axis can hold; the mean itself where there are none."""
    return (rate.low if rate.low > 0 else rate.mean, rate.high if rate.high > 0 else rate.mean)


def _draw(axes: Axes, drawn: Sequence[Held]) -> Iterator[Any]:
    places = range(len(drawn))
    expected = [one.against.expected for one in drawn]
    low, width = [one.low for one in expected], [one.high - one.low for one in expected]
    yield axes.barh(places, width, left=low, height=0.5, color=COLOURS[5], alpha=0.45)
    yield axes.scatter([one.ceiling for one in expected], places, marker="|", s=220, color=INK)
    rates = [one.best.rate for one in drawn]
    yield axes.errorbar(
        [rate.mean for rate in rates],
        places,
        xerr=bars(rates),
        linestyle="none",
        markersize=5,
        capsize=3,
        **look(1),
    )


def _interval(against: Against) -> str:
    expected = against.expected
    return f"{number(expected.middle)} ({number(expected.low)} to {number(expected.high)})"
