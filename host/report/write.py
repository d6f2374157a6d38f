"""Results -> the files of a report."""

from __future__ import annotations

from pathlib import Path

from host.report import plots, tables
from host.report.rows import Section


def write(sections: list[Section], folder: Path) -> list[Path]:
    """Write the Markdown tables and the plot into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    document = folder / "report.md"
    picture = plots.threads(sections, folder / "threads.png")
    document.write_text(tables.markdown(sections) + f"\n![tokens/s over threads]({picture.name})\n")
    return [document, picture]
