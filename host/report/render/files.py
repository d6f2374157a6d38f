"""The files of a report: page, Markdown, CSV and figures, written into a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from smoothdroid.device.common.atomic_file import write_atomically
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.plots.registry import PLOTS, Plot
from smoothdroid.host.report.render import html, markdown
from smoothdroid.host.report.sections.registry import SECTIONS, SectionEntry
from smoothdroid.host.report.sections.report import build_report
from smoothdroid.host.report.tables import cells_csv

FIGURES = "figures"
PAGE, SUMMARY, CELLS = "report.html", "report.md", "cells.csv"


def write(
    data: ReportData,
    folder: Path,
    on_progress: Callable[[str, int, int], None] = lambda label, done, total: None,
    *,
    sections: Sequence[SectionEntry] = SECTIONS,
    plots: Sequence[Plot] = PLOTS,
) -> list[Path]:
    """Write page, Markdown, CSV and figures into `folder`; return the paths of the first three and of the figures.

    Each file appears whole or not at all. Figures of an earlier report are removed, other files stay.
    """
    figures = folder / FIGURES
    for place in (folder, figures):
        place.mkdir(parents=True, exist_ok=True)
    report = build_report(data, sections, plots)
    for file in figures.iterdir():
        if any(plot.owns(file.name) for plot in plots):
            file.unlink()
    missing: dict[str, None] = {}
    for count, figure in enumerate(report.figures):
        on_progress("drawing", count, len(report.figures))
        missing |= dict.fromkeys(figure.save(figures))
    texts = {
        PAGE: html.html(report, _notices(missing)),
        SUMMARY: markdown.markdown(report, _notices(missing)),
        CELLS: cells_csv.cells(data.campaigns),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [*(folder / name for name in texts), figures]


def _notices(missing: dict[str, None]) -> list[str]:
    return [
        f"This machine has no font for some characters of these names (searched: {fonts}): the PNG files show boxes "
        "instead. The page and the SVG files use the fonts of whoever opens them. For Hangul, install fonts-noto-cjk "
        "(apt install fonts-noto-cjk) and write the report again."
        for fonts in missing
    ]
