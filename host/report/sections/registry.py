"""The registry of sections: what a report contains, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections import (
    best,
    cells,
    energy,
    formats,
    invalid,
    memory,
    method,
    phones,
    predicted,
    quality,
    speed,
    sustained,
)
from smoothdroid.host.report.sections.section import SectionContent


@dataclass(frozen=True)
class SectionEntry:
    """A section that a report may have."""

    id: str
    """The anchor in the page, and the name by which plots refer to the section; it never changes."""
    title: str
    build: Callable[[ReportData], SectionContent | None]
    """Returns its content; None where these results have none. Without content and figures, it is left out."""


SECTIONS = (
    SectionEntry("best", "Best settings", best.build),
    SectionEntry("invalid", "Cells without a valid result", invalid.build),
    SectionEntry("speed", "Tokens per second over threads", speed.build),
    SectionEntry("sustained", "Sustained speed", sustained.build),
    SectionEntry("predicted", "Measured against predicted speed", predicted.build),
    SectionEntry("formats", "FP16, Q8_0 and SmoothQuant Q8_0 compared", formats.build),
    SectionEntry("quality", "Quality over size and speed", quality.build),
    SectionEntry("memory", "Memory use", memory.build),
    SectionEntry("energy", "Energy per token", energy.build),
    SectionEntry("phones", "Phones side by side", phones.build),
    SectionEntry("cells", "All cells", cells.build),
    SectionEntry("method", "How it was measured", method.build),
)
"""Every section of a report. A new one is a file in this folder and a row here."""
