"""The registry of plots: what a report draws, where it shows it, and which files of an earlier report it replaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.plots import memory, phones, predicted, quality_size, quality_speed, sustained, threads
from smoothdroid.host.report.plots.figure import ReportFigure


@dataclass(frozen=True)
class Plot:
    """A kind of plot, of which a report has any number of figures."""

    stem: str
    """The beginning of its files' names: STEM-1.png, STEM-1.svg, STEM-2.png, ..."""
    section: str
    """The id of the section that shows its figures."""
    draw: Callable[[ReportData], Iterable[ReportFigure]]
    """Yields its figures; their names are given here."""

    def figures(self, data: ReportData) -> list[ReportFigure]:
        """Draw the figures, numbered from 1."""
        return [replace(figure, name=f"{self.stem}-{count}") for count, figure in enumerate(self.draw(data), 1)]

    def owns(self, file_name: str) -> bool:
        """Return whether a file is one of this plot's figures."""
        return re.fullmatch(rf"{re.escape(self.stem)}-\d+\.(png|svg)", file_name) is not None


PLOTS = (
    Plot("threads", "speed", threads.draw),
    Plot("sustained", "sustained", sustained.draw),
    Plot("predicted", "predicted", predicted.draw),
    Plot("quality-size", "quality", quality_size.draw),
    Plot("quality-speed", "quality", quality_speed.draw),
    Plot("memory", "memory", memory.draw),
    Plot("phones", "phones", phones.draw),
)
"""Every plot of a report. A new one is a file in this folder and a row here."""
