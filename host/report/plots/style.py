"""What all plots share: colours, sizes, fonts, and how a panel begins."""

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
"""Text, axes and grid; where a picture is drawn into a page, the page's own."""

# Okabe and Ito's palette: told apart by colour-blind readers; the markers tell lines apart in grey print.
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
"""The first that has a character draws it: matplotlib brings the first, of the others some machine has one."""

mpl.rcParams["text.parse_math"] = False  # a $ in a model's or a phone's name is a $
mpl.rcParams["svg.fonttype"] = "none"  # text stays text: it can be read aloud, copied, and drawn with a reader's fonts
mpl.rcParams["svg.hashsalt"] = "smoothdroid"  # the same results give the same file
mpl.rcParams["font.family"] = [
    font for font in FONTS if font in {known.name for known in font_manager.fontManager.ttflist}
]
for _what in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"):
    mpl.rcParams[_what] = INK


def panel(rows: int = 1, inches: tuple[float, float] = PANEL_INCHES) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` axes above each other, which share what they have on the x axis."""
    figure = Figure(figsize=inches, layout="constrained")
    found = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    for axes in found:
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(found)


def look(index: int) -> dict[str, Any]:
    """The line of this number: no two of 36 have the same colour and the same marker."""
    marker = MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[index % len(COLOURS)], "marker": marker}


def bars(found: Sequence[Interval]) -> list[list[float]]:
    """Lengths of the error bars below and above each mean. An unknown end is NaN, for which matplotlib draws none."""
    return [[one.mean - one.low for one in found], [one.high - one.mean for one in found]]


def nested(index: int, count: int) -> dict[str, Any]:
    """Sizes of marker and caps for number `index` of `count` series.

    Points that lie on each other stay where they are: the later ones are smaller, so that each can be seen.
    """
    share = index / max(count - 1, 1)
    return {"markersize": 10 - 6 * share, "capsize": 7 - 4 * share, "elinewidth": 2.2 - 1.2 * share}


def legend(figure: Figure, handles: Any, labels: list[str]) -> None:  # noqa: ANN401 (a legend takes more than its type says)
    """Below the axes. Handles are given with their labels: asked itself, matplotlib leaves out a model called `_x`."""
    columns = 1 if max(map(len, labels), default=0) > 28 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
