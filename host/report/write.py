"""Results -> the files of a report."""

from __future__ import annotations

from pathlib import Path

from host.report import plots, tables
from host.report.rows import Section

DOTS_PER_INCH = 150  # sharp on a phone's and a laptop's screen, still small


def write(sections: list[Section], folder: Path) -> list[Path]:
    """Write the Markdown tables and the plot into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    document, picture = folder / "report.md", folder / "threads.png"
    plots.threads(sections).savefig(picture, dpi=DOTS_PER_INCH)
    document.write_text(tables.markdown(sections) + f"\n![tokens/s over threads]({picture.name})\n")
    return [document, picture]
