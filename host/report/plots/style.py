"""The style that all plots share: colours, sizes, fonts, panels, error bars and legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no screen on a CI machine
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smoothdroid.host.results.statistics import Interval

INK = "#1b1f24"
"""The colour of text, axes and grid; in a page, it is replaced by the page's."""

# Okabe and Ito's palette, which colour-blind readers can tell apart; in grey print, the markers differ.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
PANEL_INCHES = (5.2, 3.6)
DOTS_PER_INCH = 150  # sharp on a phone's and a laptop's screen, still small

FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "UnDotum",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "Noto Sans CJK JP",
    "WenQuanYi Micro Hei",
)
"""Fonts in the order in which they are searched for a character. Matplotlib ships the first."""

mpl.rcParams["text.parse_math"] = False  # a $ in a model's or a phone's name is a $
mpl.rcParams["svg.fonttype"] = "none"  # text stays text: it can be read aloud and copied
mpl.rcParams["svg.hashsalt"] = "smoothdroid"  # the same results give the same file
mpl.rcParams["font.family"] = [
    font for font in FONTS if font in {known.name for known in font_manager.fontManager.ttflist}
]
for _what in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"):
    mpl.rcParams[_what] = INK


def panel(rows: int = 1, inches: tuple[float, float] = PANEL_INCHES) -> tuple[Figure, list[Axes]]:
    """Return a figure of `rows` axes above each other that share their x axis."""
    figure = Figure(figsize=inches, layout="constrained")
    every = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    for axes in every:
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(every)


def look(index: int) -> dict[str, Any]:
    """Return colour and marker of line number `index`; no two of 36 have both in common."""
    marker = MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[index % len(COLOURS)], "marker": marker}


def bars(intervals: Sequence[Interval]) -> list[list[float]]:
    """Return the lengths of the error bars below and above each mean; NaN, which is not drawn, for an unknown end."""
    return [[one.mean - one.low for one in intervals], [one.high - one.mean for one in intervals]]


def nested(index: int, count: int) -> dict[str, Any]:
    """Return the sizes of marker and caps for number `index` of `count` series.

    Later series are smaller, so that points that coincide can all be seen without being moved.
    """
    share = index / max(count - 1, 1)
    return {"markersize": 10 - 6 * share, "capsize": 7 - 4 * share, "elinewidth": 2.2 - 1.2 * share}


def legend(figure: Figure, handles: Any, labels: list[str]) -> None:  # noqa: ANN401 (a legend takes more than its type says)
    """Add a legend below the axes, with explicit handles: left alone, matplotlib skips a model called `_x`."""
    columns = 1 if max(map(len, labels), default=0) > 28 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
