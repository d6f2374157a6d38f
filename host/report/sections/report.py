"""The report: its sections and figures, put together from the two registries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.rows import NOT_A_SPEED
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.registry import PLOTS, Plot
from smoothdroid.host.report.sections.registry import SECTIONS, SectionEntry
from smoothdroid.host.report.sections.section import Section, SectionContent


@dataclass(frozen=True)
class Report:
    """A report before it is written as a page and as Markdown."""

    title: str
    caveats: list[str]
    """Warnings that come before any figure."""
    damage: list[str]
    """Files and lines that could not be read."""
    sections: list[Section]

    @property
    def figures(self) -> list[ReportFigure]:
        """The figures of all sections."""
        return [figure for section in self.sections for figure in section.figures]


def build_report(
    data: ReportData, sections: Sequence[SectionEntry] = SECTIONS, plots: Sequence[Plot] = PLOTS
) -> Report:
    """Build every section that has content or figures, in the order of the registry."""
    figures: dict[str, list[ReportFigure]] = {}
    for plot in plots:
        figures.setdefault(plot.section, []).extend(plot.figures(data))
    built = [(entry, entry.build(data), figures.get(entry.id, [])) for entry in sections]
    phones = ", ".join(dict.fromkeys(phone.model for phone in data.phones))
    emulated = ", ".join(phone.title for phone in data.phones if phone.emulated)
    return Report(
        f"smoothdroid: {phones or 'quality'}",
        [f"{emulated} ({NOT_A_SPEED})"] if emulated else [],
        data.damage,
        [
            Section(entry.id, entry.title, content or SectionContent(), drawn)
            for entry, content, drawn in built
            if content or drawn
        ],
    )
