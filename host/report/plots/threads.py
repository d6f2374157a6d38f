"""Rows -> tokens/s over threads: a panel for each test and setting, a line for each model and mask."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from smoothdroid.host.report.data.phone_results import setting
from smoothdroid.host.report.data.rows import Row, Section
from smoothdroid.host.report.data.safe_text import line, short
from smoothdroid.host.report.plots.figure import Picture
from smoothdroid.host.report.plots.style import INK, PANEL_INCHES, bars, legend, look, nested, panel
from smoothdroid.host.report.tables.cells import number
from smoothdroid.host.results.cpu_masks import ANY
from smoothdroid.host.results.statistics import CONFIDENCE, Interval

LINES = 6
"""In a panel: as many as there are colours. More models or masks get more panels."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""Each stands for a verdict: beside a point there is no room for words, and in the legend there is."""

LETTERS_ASIDE = ((5, 3), (-10, 3), (5, -9), (-10, -9), (5, 11), (-10, 11))
"""Where each line's letters stand, in points from the point: points of two lines may lie on each other."""

TICKS = 12  # thread counts that have room below a panel
POINTS_TOLD = 24  # in a panel's description; the table has them all
NAME = 44  # characters of a model's name
HOLLOW = "hollow, not to be believed"

Line = tuple[str, str]
"""Model and CPUs: what the points of a line share."""


def threads(sections: list[Section]) -> Iterator[Picture]:
    """Every burst that has a number."""
    number = 0
    for section in sections:
        rows = [row for row in section.rows if row.tokens_per_s and not row.judged.cell.test.sustained_s]
        for test, settings in dict.fromkeys((row.test, row.settings) for row in rows):
            shown = [row for row in rows if (row.test, row.settings) == (test, settings)]
            lines = sorted({_line(row) for row in shown})
            for first in range(0, len(lines), LINES):
                number += 1
                part = lines[first : first + LINES]
                of_several = f" ({first // LINES + 1} of {-(-len(lines) // LINES)})" if len(lines) > LINES else ""
                yield _picture(f"threads-{number}", section, shown, part, of_several)


def _picture(name: str, section: Section, rows: list[Row], lines: list[Line], of_several: str) -> Picture:
    mine = [row for row in rows if _line(row) in lines]
    reasons = dict(zip(dict.fromkeys(row.verdict for row in mine if not row.valid), cycle(LETTERS), strict=False))
    width, height = PANEL_INCHES
    figure, (axes,) = panel(
        inches=(width, height - 0.4 + 0.18 * (len(lines) + len(reasons)))
    )  # a legend takes its lines
    handles: list[Any] = []
    for index, one in enumerate(lines):
        points = [row for row in mine if _line(row) == one]
        sizes = nested(index, len(lines))
        handles.append(_points(axes, [row for row in points if row.valid], index, sizes, hollow=False))
        _points(axes, [row for row in points if not row.valid], index, sizes, hollow=True)
        for row in points:
            if row.tokens_per_s and not row.valid:
                place, aside = (row.threads, row.tokens_per_s.mean), LETTERS_ASIDE[index % len(LETTERS_ASIDE)]
                axes.annotate(reasons[row.verdict], place, aside, textcoords="offset points", fontsize=7)
    what = f"{kind(rows[0])}{of_several}"
    axes.set_title("\n".join(filter(None, [short(section.title, 60), what, section.caveat])), fontsize=9)
    axes.set_xlabel("threads")
    axes.set_ylabel(f"tokens/s (mean, {CONFIDENCE:.0%} interval)")
    # An interval of two values may end anywhere: the axis is the means'.
    means = [row.tokens_per_s.mean for row in mine if row.tokens_per_s]
    axes.set_ylim(0, 1.25 * max(means) if max(means) > 0 else 1)
    counts = sorted({row.threads for row in mine})
    axes.set_xlim(counts[0] - 0.5, counts[-1] + 0.5)
    axes.xaxis.set_major_locator(FixedLocator(counts) if len(counts) <= TICKS else MaxNLocator(integer=True))
    labels = [_label(one) for one in lines]
    for verdict, letter in reasons.items():
        handles.append(Line2D([], [], marker="o", mfc="none", linestyle="none", color=INK))
        labels.append(f"{letter}: {HOLLOW}: {short(verdict, 48)}")
    legend(figure, handles, labels)
    return Picture(name, f"{section.title}: {what}, tokens/s over threads", _told(mine), figure)


def _points(axes: Axes, rows: list[Row], index: int, sizes: dict[str, Any], *, hollow: bool) -> Any:  # noqa: ANN401 (a legend's handle)
    shown = [(row.threads, row.tokens_per_s) for row in rows if row.tokens_per_s]
    style: dict[str, Any] = {"mfc": "none", "linestyle": "none", "alpha": 0.8} if hollow else {"linewidth": 1.5}
    return axes.errorbar(
        [place for place, _ in shown],
        [rate.mean for _, rate in shown],
        yerr=bars([rate for _, rate in shown]),
        **sizes,
        **style,
        **look(index),
    )


def _line(row: Row) -> Line:
    return row.model, row.cpus


def _label(one: Line) -> str:
    model, cpus = one
    return short(model, NAME) + ("" if cpus == ANY else f", CPUs {cpus}")


def kind(row: Row) -> str:
    """Prefill, 512 tokens, cache k q8_0."""
    test = row.judged.cell.test
    if test.prompt:
        what = f"decode after {test.name}"
    else:
        what = f"prefill, {test.n_prompt} tokens" if test.n_prompt else f"decode, {test.n_gen} tokens"
    return line(", ".join(filter(None, [what, row.settings])))


def _told(rows: list[Row]) -> str:
    points = [f"{line(row.model)}, {setting(row)}: {_rate(row.tokens_per_s)}{_why(row)}" for row in rows]
    rest = f"; and {len(points) - POINTS_TOLD} more, in the table" if len(points) > POINTS_TOLD else ""
    return "; ".join(points[:POINTS_TOLD]) + rest


def _why(row: Row) -> str:
    return "" if row.valid else f" (not to be believed: {row.verdict})"


def _rate(rate: Interval | None) -> str:
    if rate is None:
        return "no number"
    return number(rate.mean) + (f" ({number(rate.low)} to {number(rate.high)})" if rate.n > 1 else "")
