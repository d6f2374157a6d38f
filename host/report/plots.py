"""Rows -> pictures."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

from host.bench.masks import ANY
from host.bench.stats import CONFIDENCE
from host.report import sustained
from host.report.rows import Row, Section

mpl.use("Agg")  # no screen on a CI machine
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

mpl.rcParams["text.parse_math"] = False  # a $ in a model's or a phone's name is a $

# Okabe and Ito's palette: told apart by colour-blind readers; the markers tell lines apart in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
PANEL_INCHES = (5.2, 3.6)
DOUBTFUL = "not to be believed: see the verdict"


Line = tuple[str, str, str]
"""Model, CPUs and settings: what the points of a line share."""


def threads(sections: list[Section]) -> Figure:
    """Tokens/s over threads: a row of panels for each campaign, a panel for each test, a line for each setting."""
    columns = max(len(_tests(section)) for section in sections)
    figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * len(sections)), layout="constrained")
    grid = figure.subplots(len(sections), columns, squeeze=False)
    lines = sorted({_line(row) for section in sections for row in section.rows})
    for section, axes_row in zip(sections, grid, strict=True):
        tests = _tests(section)
        for axes in axes_row[len(tests) :]:
            axes.set_axis_off()
        for test, axes in zip(tests, axes_row, strict=False):
            _panel(axes, section, test, lines)
    _legend(figure, grid[0][0], lines, any(_doubtful(row) for section in sections for row in section.rows))
    return figure


def over_time(sections: list[Section]) -> Figure | None:
    """Tokens/s over minutes, of what was kept up that long: a panel for each test of each campaign; None: nothing."""
    panels = {
        (section.title, section.caveat, row.test): [r for r in section.rows if r.test == row.test and r.tokens_per_s]
        for section in sections
        for row in section.rows
        if row.judged.cell.test.sustained_s and row.tokens_per_s
    }
    if not panels:
        return None
    figure = Figure(figsize=(PANEL_INCHES[0] * 1.4, PANEL_INCHES[1] * len(panels)), layout="constrained")
    for axes, ((title, caveat, test), rows) in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True
    ):
        for index, row in enumerate(rows):
            kept_up = sustained.of(row.judged)
            label = f"{_label(_line(row))}, {row.threads} threads"
            minutes = [end_s / 60 for end_s in (0.0, *kept_up.ends_s)]
            axes.stairs(kept_up.tokens_per_s, minutes, baseline=None, label=label, **_look(index))
        axes.set_title("\n".join(filter(None, [title, test, caveat])), fontsize=9)
        axes.set_xlabel("minutes")
        axes.set_ylabel("tokens/s of each repetition")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(axes.patches, [str(patch.get_label()) for patch in axes.patches], frameon=False, fontsize=8)
    return figure


def _tests(section: Section) -> list[str]:
    """Those of which a burst was asked for."""
    return list(dict.fromkeys(row.test for row in section.rows if not row.judged.cell.test.sustained_s))


def _line(row: Row) -> Line:
    return row.model, row.cpus, row.settings


def _label(line: Line) -> str:
    model, cpus, settings = line
    return ", ".join(filter(None, [model, "" if cpus == ANY else f"CPUs {cpus}", settings]))


def _look(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "linewidth": 1.5}


def _doubtful(row: Row) -> bool:
    return row.tokens_per_s is not None and not row.valid and not row.judged.cell.test.sustained_s


def _panel(axes: Axes, section: Section, test: str, lines: list[Line]) -> None:
    rows = [row for row in section.rows if row.test == test]
    for index, line in enumerate(lines):
        mine = [row for row in rows if _line(row) == line]
        # Lines that are alike lie on each other: shifted sideways, their bars can both be read.
        shift = 0.04 * (index - (len(lines) - 1) / 2)
        styles: tuple[tuple[bool, dict[str, Any]], ...] = (
            (True, {"marker": MARKERS[index % len(MARKERS)]}),
            (False, {"marker": "x", "linestyle": "none"}),
        )
        for valid, style in styles:
            shown = [(row.threads + shift, row.tokens_per_s) for row in mine if row.valid == valid and row.tokens_per_s]
            # A single repetition has no interval: matplotlib draws no bar for NaN.
            axes.errorbar(
                [place for place, _ in shown],
                [rate.mean for _, rate in shown],
                yerr=[rate.half for _, rate in shown],
                label=_label(line) if valid else DOUBTFUL,
                markersize=5,
                capsize=4,
                **style,
                **_look(index),
            )
    axes.set_title("\n".join(filter(None, [section.title, _kind(rows[0]), section.caveat])), fontsize=9)
    axes.set_xlabel("threads")
    axes.set_ylabel(f"tokens/s (mean, {CONFIDENCE:.0%} interval)")
    axes.set_ylim(bottom=0)
    counts = sorted({row.threads for row in section.rows})
    axes.set_xlim(counts[0] - 0.5, counts[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _kind(row: Row) -> str:
    test = row.judged.cell.test
    if test.prompt:
        return f"decode after {test.name}"
    return f"prefill, {test.n_prompt} tokens" if test.n_prompt else f"decode, {test.n_gen} tokens"


def _legend(figure: Figure, axes: Axes, lines: list[Line], doubtful: bool) -> None:
    # The lines of one panel, which all panels have: asked for its labels, it would leave out a model called `_x`.
    handles: list[Any] = [bars for bars in axes.containers if bars.get_label() != DOUBTFUL]
    labels = [_label(line) for line in lines]
    if doubtful:
        handles.append(Line2D([], [], marker="x", linestyle="none", color="grey"))
        labels.append(DOUBTFUL)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2), frameon=False)
