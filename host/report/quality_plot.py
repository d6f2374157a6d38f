"""An evaluation -> a picture, KLD over size, and the files of its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from host.bench.stats import CONFIDENCE
from host.model.evaluation import Evaluation
from host.report.plots import COLOURS, DOTS_PER_INCH, MARKERS, PANEL_INCHES
from host.report.quality import rows
from host.report.quality_tables import markdown

# Q8_0 beside Q4_0 is a factor of 80: on a linear scale the better ones would all lie on the axis.
LOGARITHMIC_FROM = 10

MARGIN = 0.25  # of the range of sizes, left and right of it
ONE_SIZE = 0.1  # of the size: that range where all candidates have one size
ASIDE = 0.03  # of that range


def kld_over_size(evaluation: Evaluation) -> Figure:
    """Mean KLD to the reference over the file's size, a point with its interval for each candidate."""
    figure = Figure(figsize=PANEL_INCHES, layout="constrained")
    axes = figure.subplots()
    shown = [(row.model, row.figures.kld) for row in rows(evaluation) if row.figures]
    sizes_mb = [model.size_bytes / 1e6 for model, _ in shown]
    spread_mb = max(max(sizes_mb) - min(sizes_mb), ONE_SIZE * max(sizes_mb))
    for index, (size_mb, (_, kld)) in enumerate(zip(sizes_mb, shown, strict=True)):
        # Smoothing changes no size: points are drawn side by side, so that their bars can all be read.
        aside_mb = ASIDE * spread_mb * (index - (len(shown) - 1) / 2)
        axes.errorbar(
            [size_mb + aside_mb],
            [kld.mean],
            yerr=[[kld.mean - kld.low], [kld.high - kld.mean]],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle="none",
            markersize=6,
            capsize=4,
        )
    means = [kld.mean for _, kld in shown]
    if min(means) > 0 and max(means) > LOGARITHMIC_FROM * min(means):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(min(sizes_mb) - MARGIN * spread_mb, max(sizes_mb) + MARGIN * spread_mb)
    axes.ticklabel_format(axis="x", useOffset=False)  # files of one type differ in the last digits only
    axes.set_title(
        f"{evaluation.windows} windows of {evaluation.context} tokens\n{evaluation.text}\n{evaluation.kernels}",
        fontsize=9,
    )
    axes.set_xlabel("file size (MB)")
    axes.set_ylabel(f"mean KLD to the reference\n(nats, {CONFIDENCE:.0%} interval)")
    axes.grid(alpha=0.3)
    # Handles and names are given: asked for its labels, matplotlib would leave out a model called `_x`.
    names = [model.name for model, _ in shown]
    handles: Any = axes.containers  # a legend takes them; matplotlib's annotations know of artists only
    figure.legend(handles, names, loc="outside lower center", ncols=1, frameon=False)
    return figure


def write(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write quality-ID.md and quality-ID.png into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    document, picture = (folder / f"quality-{evaluation.id}.{kind}" for kind in ("md", "png"))
    kld_over_size(evaluation).savefig(picture, dpi=DOTS_PER_INCH)
    document.write_text(markdown(evaluation) + f"\n![KLD over size]({picture.name})\n", encoding="utf-8")
    return [document, picture]
