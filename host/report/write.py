"""Results -> the files of a report."""

from __future__ import annotations

from pathlib import Path

from host.report import plots, tables
from host.report.rows import Section

DOTS_PER_INCH = 150  # sharp on a phone's and a laptop's screen, still small


def write(sections: list[Section], folder: Path) -> list[Path]:
    """Write the Markdown tables and the plots into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"threads.png": plots.threads(sections), "sustained.png": plots.over_time(sections)}
    captions = {"threads.png": "tokens/s over threads", "sustained.png": "tokens/s over time"}
    document, text = folder / "report.md", tables.markdown(sections)
    written = [document]
    for name, figure in figures.items():
        (folder / name).unlink(missing_ok=True)  # of an earlier report
        if figure is not None:
            figure.savefig(folder / name, dpi=DOTS_PER_INCH)
            text += f"\n![{captions[name]}]({name})\n"
            written.append(folder / name)
    document.write_text(text)
    return written
