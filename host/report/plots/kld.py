"""An evaluation -> pictures, KLD over size or speed, and the files of its report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data.quality import Row, rows
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.plots.style import DOTS_PER_INCH, INK, PANEL_INCHES, bars, legend, look, nested, panel
from smoothdroid.host.report.tables.quality import markdown
from smoothdroid.host.results.statistics import CONFIDENCE, Interval

# Q8_0 beside Q4_0 is a factor of 80: on a linear scale the better ones would all lie on the axis.
LOGARITHMIC_FROM = 10

MARGIN = 0.25  # of the range, left and right of it
ONE_PLACE = 0.1  # of the value: that range where all candidates have one
NAME = 44  # characters of a model's name

Point = tuple[Row, Interval]
"""A candidate, and where it stands on the x axis: MB, or tokens/s."""


def sizes(evaluation: Evaluation) -> list[Point]:
    """The candidates by the size of their files, MB."""
    found = [(row, row.model.size_bytes / 1e6) for row in rows(evaluation) if row.figures]
    return [(row, Interval(size_mb, size_mb, size_mb, 1)) for row, size_mb in found]


def kld_over(points: Sequence[Point], axis: str, title: str, joined: Iterable[tuple[str, str]] = ()) -> Figure:
    """Mean KLD to the reference, a point with its intervals for each candidate, in their order.

    An arrow leads from the first to the second of each pair of hashes that are `joined`. Raises ValueError when there
    is no point.
    """
    width, height = PANEL_INCHES
    figure, (axes,) = panel(inches=(width, height - 0.4 + 0.18 * len(points)))  # a legend takes its lines
    middles = [x.mean for _, x in points]
    spread = max(max(middles) - min(middles), ONE_PLACE * max(middles))
    handles, places, means = [], {}, []
    for index, (row, x) in enumerate(points):
        if row.figures is None:
            raise ValueError(f"{row.model.name} is the reference")
        kld = row.figures.kld
        handles.append(
            axes.errorbar(
                [x.mean],
                [kld.mean],
                xerr=None if x.low == x.high else bars([x]),
                yerr=bars([kld]),
                linestyle="none",
                **nested(index, len(points)),
                **look(index),
            )
        )
        places[row.model.sha256] = x.mean, kld.mean
        means.append(kld.mean)
    for plain, smooth in joined:
        if plain in places and smooth in places:
            arrow = {"arrowstyle": "->", "color": INK, "shrinkA": 5, "shrinkB": 5}
            axes.annotate("", xy=places[smooth], xytext=places[plain], arrowprops=arrow)
    if min(means) > 0 and max(means) > LOGARITHMIC_FROM * min(means):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda kld, _: f"{kld:g}")  # its own are formulas, and a $ here is a $
        axes.yaxis.set_minor_formatter(lambda kld, _: "")
    else:
        axes.set_ylim(bottom=0)
    # The rate of a single process has no ends.
    ends = [end for _, x in points for end in (x.mean, x.low, x.high) if math.isfinite(end)]
    axes.set_xlim(min(ends) - MARGIN * spread, max(ends) + MARGIN * spread)
    axes.ticklabel_format(axis="x", useOffset=False)  # files of one type differ in the last digits only
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(axis)
    axes.set_ylabel(f"mean KLD to the reference\n(nats, {CONFIDENCE:.0%} interval)")
    legend(figure, handles, [short(row.model.name, NAME) for row, _ in points])
    return figure


def conditions(evaluation: Evaluation) -> str:
    """Lines above a picture: what its figures hold for."""
    windows = f"{evaluation.windows} windows of {evaluation.context} tokens"
    return "\n".join([windows, short(evaluation.text, 70), short(evaluation.kernels, 70)])


def kld_over_size(evaluation: Evaluation) -> Figure:
    """Mean KLD to the reference over the file's size, a point with its interval for each candidate."""
    return kld_over(sizes(evaluation), "file size (MB)", conditions(evaluation))


def write(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write quality-ID.md and quality-ID.png into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    document, picture = (folder / f"quality-{evaluation.id}.{kind}" for kind in ("md", "png"))
    kld_over_size(evaluation).savefig(picture, dpi=DOTS_PER_INCH)
    document.write_text(markdown(evaluation) + f"\n![KLD over size]({picture.name})\n", encoding="utf-8")
    return [document, picture]
