"""Rows -> pictures."""

from __future__ import annotations

import matplotlib as mpl

from host.bench.stats import CONFIDENCE
from host.report.rows import Section

mpl.use("Agg")  # no screen on a CI machine
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

mpl.rcParams["text.parse_math"] = False  # a $ in a model's or a phone's name is a $

# Okabe and Ito's palette: told apart by colour-blind readers; the markers tell lines apart in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
PANEL_INCHES = (5.2, 3.6)


def threads(sections: list[Section]) -> Figure:
    """Tokens/s over threads: a row of panels for each campaign, a panel for each test, a line for each model."""
    columns = max(len(_tests(section)) for section in sections)
    figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * len(sections)), layout="constrained")
    grid = figure.subplots(len(sections), columns, squeeze=False)
    models = sorted({row.model for section in sections for row in section.rows})
    for section, axes_row in zip(sections, grid, strict=True):
        tests = _tests(section)
        for axes in axes_row[len(tests) :]:
            axes.set_axis_off()
        for test, axes in zip(tests, axes_row, strict=False):
            _panel(axes, section, test, models)
    # The lines of one panel, which all panels have: asked for its labels, it would leave out a model called `_x`.
    figure.legend(grid[0][0].containers, models, loc="outside lower center", ncols=min(len(models), 2), frameon=False)
    return figure


def _tests(section: Section) -> list[str]:
    return list(dict.fromkeys(row.test for row in section.rows))


def _panel(axes: Axes, section: Section, test: str, models: list[str]) -> None:
    measured = [row for row in section.rows if row.test == test and row.tokens_per_s is not None]
    for index, model in enumerate(models):
        mine = [(row.threads, row.tokens_per_s) for row in measured if row.model == model and row.tokens_per_s]
        # A single repetition has no interval: matplotlib draws no bar for NaN.
        # Lines of models that are alike lie on each other: shifted sideways, their bars can both be read.
        shift = 0.04 * (index - (len(models) - 1) / 2)
        axes.errorbar(
            [count + shift for count, _ in mine],
            [rate.mean for _, rate in mine],
            yerr=[rate.half for _, rate in mine],
            label=model,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            capsize=4,
            linewidth=1.5,
        )
    kind = "prefill" if test.startswith("pp") else "decode"
    title = f"{section.title}\n{kind}, {test[2:]} tokens"
    axes.set_title(f"{title}\n{section.caveat}" if section.caveat else title, fontsize=9)
    axes.set_xlabel("threads")
    axes.set_ylabel(f"tokens/s (mean, {CONFIDENCE:.0%} interval)")
    axes.set_ylim(bottom=0)
    counts = sorted({row.threads for row in section.rows})
    axes.set_xlim(counts[0] - 0.5, counts[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
