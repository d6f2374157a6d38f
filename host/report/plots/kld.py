"""Mean KLD over an x axis of choice, which the plots over file size and over speed share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.report.data.quality import Distance, Quality
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.plots.style import INK, PANEL_INCHES, bars, legend, look, nested, panel
from smoothdroid.host.results.statistics import CONFIDENCE, Interval

# Q4_0 has 80 times the KLD of Q8_0: on a linear scale the better models would all lie on the axis.
LOGARITHMIC_FROM = 10

MARGIN = 0.25
"""Share of the range of x that is left empty on either side."""

NARROWEST = 0.1
"""The least range of x, as a share of the largest value: all candidates may have the same."""

SIZE_AXIS = "file size (MB)"

NAME = 44
"""Characters of a model's name in the legend."""

Point = tuple[str, str, Distance, Interval]
"""A candidate: name, hash, distance from the reference, and its place on the x axis (MB or tokens/s)."""


def points_over_size(quality: Quality) -> list[Point]:
    """Return the candidates by the size of their files in MB."""
    points = []
    for row in quality.rows:
        if row.distance:
            size_mb = row.model.size_bytes / 1e6
            points.append((row.model.name, row.model.sha256, row.distance, Interval(size_mb, size_mb, size_mb, 1)))
    return points


def kld_over(points: Sequence[Point], axis: str, title: str, arrows: Iterable[tuple[str, str]] = ()) -> Figure:
    """Draw the mean KLD to the reference as a point with its intervals for each candidate.

    An arrow leads from the first to the second model of each pair of hashes in `arrows`. Raises ValueError when there
    is no point.
    """
    width, height = PANEL_INCHES
    figure, (axes,) = panel(inches=(width, height - 0.4 + 0.18 * len(points)))  # the legend takes a line for each
    handles = list(_draw_points(axes, points))
    places = {sha256: (x.mean, distance.kld.mean) for _, sha256, distance, x in points}
    for plain, smooth in arrows:
        if plain in places and smooth in places:
            style = {"arrowstyle": "->", "color": INK, "shrinkA": 5, "shrinkB": 5}
            axes.annotate("", xy=places[smooth], xytext=places[plain], arrowprops=style)
    _scale(axes, points)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(axis)
    axes.set_ylabel(f"mean KLD to the reference\n(nats, {CONFIDENCE:.0%} interval)")
    legend(figure, handles, [short(name, NAME) for name, *_ in points])
    return figure


def kld_over_size(quality: Quality, arrows: Iterable[tuple[str, str]] = ()) -> Figure:
    """Draw the mean KLD to the reference over the size of each candidate's file."""
    return kld_over(points_over_size(quality), SIZE_AXIS, conditions(quality.evaluation), arrows)


def _draw_points(axes: Axes, points: Sequence[Point]) -> Iterable[Any]:
    for index, (_, _, distance, x) in enumerate(points):
        yield axes.errorbar(
            [x.mean],
            [distance.kld.mean],
            xerr=None if x.low == x.high else bars([x]),
            yerr=bars([distance.kld]),
            linestyle="none",
            **nested(index, len(points)),
            **look(index),
        )


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    klds = [distance.kld.mean for _, _, distance, _ in points]
    if min(klds) > 0 and max(klds) > LOGARITHMIC_FROM * min(klds):
        axes.set_yscale("log")
        # matplotlib's own labels are formulas, and a $ here is a $.
        axes.yaxis.set_major_formatter(lambda kld, _: f"{kld:g}")
        axes.yaxis.set_minor_formatter(lambda kld, _: "")
    else:
        axes.set_ylim(bottom=0)
    middles = [x.mean for *_, x in points]
    spread = max(max(middles) - min(middles), NARROWEST * max(middles))
    # The rate of a single process has no interval.
    ends = [end for *_, x in points for end in (x.mean, x.low, x.high) if math.isfinite(end)]
    axes.set_xlim(min(ends) - MARGIN * spread, max(ends) + MARGIN * spread)
    axes.ticklabel_format(axis="x", useOffset=False)  # files of one type differ in the last digits only


def conditions(evaluation: Evaluation) -> str:
    """Return the conditions that the figures hold for, as lines above a plot."""
    windows = f"{evaluation.windows} windows of {evaluation.context} tokens"
    return "\n".join([windows, short(evaluation.text, 70), short(evaluation.kernels, 70)])


def description(points: Iterable[Point], axis: str, *, arrows: bool) -> str:
    """Return the figures of a plot as text."""
    each = "; ".join(f"{name}: {number(x.mean)}, KLD {number(distance.kld.mean)}" for name, _, distance, x in points)
    return f"{axis} and mean KLD. {each}." + (
        " An arrow leads from a plain model to its smoothed one." if arrows else ""
    )
