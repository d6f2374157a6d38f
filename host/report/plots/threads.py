"""The plot of tokens/s over threads: a panel for each test and setting, a line for each model and CPU mask."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from smoothdroid.host.report.data.numbers import with_interval
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.rows import CellRow, EvaluatedCampaign
from smoothdroid.host.report.data.safe_text import line, short
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.style import INK, PANEL_INCHES, bars, legend, look, nested, panel
from smoothdroid.host.results.cpu_masks import ANY
from smoothdroid.host.results.statistics import CONFIDENCE

LINES = 6
"""Lines in a panel, as many as there are colours: more models or masks get more panels."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""Each stands for a verdict, which the legend spells out: there is no room for it at a point."""

LETTERS_ASIDE = ((5, 3), (-10, 3), (5, -9), (-10, -9), (5, 11), (-10, 11))
"""Each line's offset of letters from its points, in points: points of two lines may coincide."""

TICKS = 12
"""Thread counts that fit below a panel."""

POINTS_DESCRIBED = 24
"""Points in a figure's description; the table has all."""

NAME = 44
"""Characters of a model's name in the legend."""

HOLLOW = "rejected (hollow)"

LineKey = tuple[str, str]
"""Model and CPUs: the points of a line share them."""


def draw(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each test and setting that has a number; a line for each model and CPU mask."""
    for evaluated in data.campaigns:
        rows = [row for row in evaluated.rows if row.tokens_per_s and not row.judged.cell.test.sustained_s]
        for test, settings in dict.fromkeys((row.test, row.settings) for row in rows):
            shown = [row for row in rows if (row.test, row.settings) == (test, settings)]
            lines = sorted({_line_key(row) for row in shown})
            panels = -(-len(lines) // LINES)
            for count in range(panels):
                of_several = f" ({count + 1} of {panels})" if panels > 1 else ""
                yield _figure(evaluated, shown, lines[count * LINES : (count + 1) * LINES], of_several)


def _figure(evaluated: EvaluatedCampaign, rows: list[CellRow], lines: list[LineKey], of_several: str) -> ReportFigure:
    shown = [row for row in rows if _line_key(row) in lines]
    letters = dict(zip(dict.fromkeys(row.verdict for row in shown if not row.valid), cycle(LETTERS), strict=False))
    width, height = PANEL_INCHES
    inches = (width, height - 0.4 + 0.18 * (len(lines) + len(letters)))  # the legend takes a line for each
    figure, (axes,) = panel(inches=inches)
    handles = [
        _draw_line(axes, [row for row in shown if _line_key(row) == key], index, len(lines), letters)
        for index, key in enumerate(lines)
    ]
    what = f"{_test_title(rows[0])}{of_several}"
    axes.set_title("\n".join(filter(None, [short(evaluated.title, 60), what, evaluated.caveat])), fontsize=9)
    axes.set_xlabel("threads")
    axes.set_ylabel(f"tokens/s (mean, {CONFIDENCE:.0%} interval)")
    # The axis follows the means: an interval of two values may end anywhere.
    highest = max(row.tokens_per_s.mean for row in shown if row.tokens_per_s)
    axes.set_ylim(0, 1.25 * highest if highest > 0 else 1)
    counts = sorted({row.threads for row in shown})
    axes.set_xlim(counts[0] - 0.5, counts[-1] + 0.5)
    axes.xaxis.set_major_locator(FixedLocator(counts) if len(counts) <= TICKS else MaxNLocator(integer=True))
    handles += [Line2D([], [], marker="o", mfc="none", linestyle="none", color=INK) for _ in letters]
    rejected = [f"{letter}: {HOLLOW}: {short(verdict, 48)}" for verdict, letter in letters.items()]
    legend(figure, handles, [*map(_label, lines), *rejected])
    return ReportFigure(f"{evaluated.title}: {what}, tokens/s over threads", _description(shown), figure)


def _draw_line(axes: Axes, rows: list[CellRow], index: int, of: int, letters: dict[str, str]) -> Any:  # noqa: ANN401 (a legend's handle)
    sizes = nested(index, of)
    handle = _draw_points(axes, [row for row in rows if row.valid], index, sizes, hollow=False)
    _draw_points(axes, [row for row in rows if not row.valid], index, sizes, hollow=True)
    for row in rows:
        if row.tokens_per_s and not row.valid:
            place, aside = (row.threads, row.tokens_per_s.mean), LETTERS_ASIDE[index % len(LETTERS_ASIDE)]
            axes.annotate(letters[row.verdict], place, aside, textcoords="offset points", fontsize=7)
    return handle


def _draw_points(axes: Axes, rows: list[CellRow], index: int, sizes: dict[str, Any], *, hollow: bool) -> Any:  # noqa: ANN401 (a legend's handle)
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


def _line_key(row: CellRow) -> LineKey:
    return row.model, row.cpus


def _label(key: LineKey) -> str:
    model, cpus = key
    return short(model, NAME) + ("" if cpus == ANY else f", CPUs {cpus}")


def _test_title(row: CellRow) -> str:
    """Return the test and the settings of a panel: `prefill, 512 tokens, cache k q8_0`."""
    test = row.judged.cell.test
    if test.prompt:
        what = f"decode after {test.name}"
    else:
        what = f"prefill, {test.n_prompt} tokens" if test.n_prompt else f"decode, {test.n_gen} tokens"
    return line(", ".join(filter(None, [what, row.settings])))


def _description(rows: list[CellRow]) -> str:
    points = [
        f"{line(row.model)}, {row.setting}: {with_interval(row.tokens_per_s)}"
        + ("" if row.valid else f" (rejected: {row.verdict})")
        for row in rows
    ]
    rest = f"; and {len(points) - POINTS_DESCRIBED} more in the table" if len(points) > POINTS_DESCRIBED else ""
    return "; ".join(points[:POINTS_DESCRIBED]) + rest
