"""The files that `smoothdroid evaluate` writes next to an evaluation: its table as Markdown, and KLD over size."""

from __future__ import annotations

from pathlib import Path

from smoothdroid.host.report.data.quality import Quality
from smoothdroid.host.report.plots.kld import kld_over_size
from smoothdroid.host.report.plots.style import DOTS_PER_INCH
from smoothdroid.host.report.tables.quality import markdown


def write_evaluation_files(quality: Quality, folder: Path) -> list[Path]:
    """Write quality-ID.md and quality-ID.png into `folder`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    document, image = (folder / f"{quality.name}.{kind}" for kind in ("md", "png"))
    kld_over_size(quality).savefig(image, dpi=DOTS_PER_INCH)
    document.write_text(markdown(quality) + f"\n![KLD over size]({image.name})\n", encoding="utf-8")
    return [document, image]
