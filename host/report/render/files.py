"""Everything that was found -> the files of a report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from smoothdroid.device.common.atomic_file import write_atomically
from smoothdroid.host.report.data.report_data import Inputs
from smoothdroid.host.report.render import html, markdown
from smoothdroid.host.report.sections import report as content
from smoothdroid.host.report.tables import cells_csv

FIGURES = "figures"
PAGE, SUMMARY, CELLS = "report.html", "report.md", "cells.csv"
_OURS = re.compile(r"(threads|sustained|quality-size|quality-speed|memory|phones)-\d+\.(png|svg)")


def write(
    inputs: Inputs, folder: Path, on_progress: Callable[[str, int, int], None] = lambda label, done, total: None
) -> list[Path]:
    """Write page, Markdown, CSV and figures into `folder`; returns the first three and the folder of figures.

    Each file is there whole or not at all. Figures of an earlier report are removed.
    """
    figures = folder / FIGURES
    for place in (folder, figures):
        place.mkdir(parents=True, exist_ok=True)
    report = content.report(inputs)
    for file in figures.iterdir():
        if _OURS.fullmatch(file.name):
            file.unlink()
    missing: dict[str, None] = {}
    for number, picture in enumerate(report.pictures):
        on_progress("drawing", number, len(report.pictures))
        missing |= dict.fromkeys(picture.save(figures))
    texts = {
        PAGE: html.html(report, _notices(missing)),
        SUMMARY: markdown.markdown(report, _notices(missing), inputs.sections),
        CELLS: cells_csv.cells(inputs.sections),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [*(folder / name for name in texts), figures]


def _notices(missing: dict[str, None]) -> list[str]:
    return [
        f"No font of this machine has every character of the names here (looked in {fonts}): the PNG files show boxes "
        "in their place. The SVG files and the page use the fonts of who reads them. For Hangul: apt install "
        "fonts-noto-cjk, and write the report again."
        for fonts in missing
    ]
