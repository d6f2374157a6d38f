"""The registries of plots and sections: a new one is a file and a row, and everything else follows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from smoothdroid.host.report.data.quality import quality_rows
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.registry import PLOTS, Plot
from smoothdroid.host.report.plots.style import panel
from smoothdroid.host.report.render.files import FIGURES, PAGE, SUMMARY, write
from smoothdroid.host.report.sections.registry import SECTIONS, SectionEntry
from smoothdroid.host.report.sections.section import SectionContent


def load_times(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each campaign, as a new plot would."""
    for evaluated in data.campaigns:
        figure, (axes,) = panel()
        axes.plot([run.wall_s for run in evaluated.runs])
        yield ReportFigure(f"wall time, {len(evaluated.runs)} runs", "seconds of each run", figure)


def test_a_plot_is_a_row(inputs: ReportData, tmp_path: Path) -> None:
    write(inputs, tmp_path, plots=(*PLOTS, Plot("wall-time", "speed", load_times)))
    page, summary = ((tmp_path / name).read_text(encoding="utf-8") for name in (PAGE, SUMMARY))
    speed = page.partition('<section id="speed"')[2].partition("</section>")[0]
    for count, evaluated in enumerate(inputs.campaigns, 1):
        for suffix in ("png", "svg"):
            assert (tmp_path / FIGURES / f"wall-time-{count}.{suffix}").is_file()
        assert f'<figure id="figure-wall-time-{count}">' in speed
        assert f"wall time, {len(evaluated.runs)} runs" in speed
    only_this = (Plot("wall-time", "speed", load_times),)
    write(inputs, tmp_path / "alone", plots=only_this)
    summary = (tmp_path / "alone" / SUMMARY).read_text(encoding="utf-8")
    assert "(figures/wall-time-1.png)" in summary.partition("## Tokens per second")[2].partition("\n## ")[0]
    (tmp_path / "alone" / FIGURES / "wall-time-99.png").touch()
    write(inputs, tmp_path / "alone", plots=only_this)
    assert not (tmp_path / "alone" / FIGURES / "wall-time-99.png").exists()


def test_a_section_is_a_row(inputs: ReportData, tmp_path: Path) -> None:
    def build(data: ReportData) -> SectionContent:
        return SectionContent([f"{len(data.campaigns)} campaigns were read."])

    write(inputs, tmp_path, sections=(SectionEntry("counts", "Counts", build), *SECTIONS))
    page, summary = ((tmp_path / name).read_text(encoding="utf-8") for name in (PAGE, SUMMARY))
    assert '<a href="#counts">Counts</a>' in page
    assert "<p>2 campaigns were read.</p>" in page.partition('<section id="counts"')[2].partition("</section>")[0]
    assert "## Counts\n\n2 campaigns were read.\n" in summary


def test_every_plot_has_a_section_and_every_name_is_used_once() -> None:
    ids, stems = [entry.id for entry in SECTIONS], [plot.stem for plot in PLOTS]
    assert {plot.section for plot in PLOTS} <= set(ids)
    assert len(set(ids)) == len(ids)
    assert len(set(stems)) == len(stems)


def test_figures_of_another_phone_do_not_survive(inputs: ReportData, tmp_path: Path) -> None:
    """A report of a phone without predictions, written where one with predictions was, showed predicted-1.png."""
    (tmp_path / FIGURES).mkdir()
    (tmp_path / FIGURES / "predicted-1.png").touch()
    write(inputs, tmp_path)
    assert not (tmp_path / FIGURES / "predicted-1.png").exists()


def test_the_rows_of_an_evaluation_are_computed_once(inputs: ReportData, tmp_path: Path) -> None:
    fresh = ReportData(inputs.campaigns, [type(one)(one.evaluation) for one in inputs.evaluations], [])
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is quality_rows.__code__

    sys.setprofile(count)
    try:
        write(fresh, tmp_path)
    finally:
        sys.setprofile(None)
    assert calls == len(fresh.evaluations) == 1
