from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.plots.sustained import ZONES, draw
from tests.host.report.whole import MODELS, SUSTAINED_S


def test_speed_temperature_and_frequency_share_one_axis_of_time(inputs: ReportData) -> None:
    first = next(draw(inputs))
    rates, celsius, mhz = first.figure.axes
    assert [axes.get_ylabel() for axes in (rates, celsius, mhz)] == ["tokens/s", "°C", "MHz"]
    assert mhz.get_xlabel() == "minutes"
    assert rates.get_xlim() == celsius.get_xlim() == mhz.get_xlim()
    (steps,) = rates.patches
    assert isinstance(steps, StepPatch)
    values, edges, _ = steps.get_data()
    assert values == pytest.approx([10.0, 9.0, 8.0])
    assert edges == pytest.approx([0, 12.8 / 60, (12.8 + 128 / 9) / 60, (12.8 + 128 / 9 + 16) / 60])


def test_time_begins_with_the_repetitions_not_with_loading(inputs: ReportData) -> None:
    first = next(draw(inputs))
    _, celsius, _ = first.figure.axes
    times = np.asarray(celsius.lines[0].get_xdata(), dtype=float)
    assert times[0] == pytest.approx(0, abs=1 / 60)
    assert min(times) >= 0


def test_zones_and_clusters_are_named_and_told(inputs: ReportData) -> None:
    first = next(draw(inputs))
    _, celsius, mhz = first.figure.axes
    legends = [axes.get_legend() for axes in (celsius, mhz)]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends if legend] == [
        ["BIG", "skin"],
        ["4×Cortex-A715", "4×Cortex-A510"],
    ]
    assert "BIG from 31" in first.description
    assert "first minute" in first.description
    assert ZONES >= 2


def test_a_figure_for_each_sustained_cell(inputs: ReportData) -> None:
    pictures = list(draw(inputs))
    measured = [
        row for s in inputs.campaigns for row in s.rows if row.judged.cell.test.sustained_s and row.tokens_per_s
    ]
    assert len(pictures) == len(measured) > len(MODELS)
    assert f"{SUSTAINED_S // 60} min" in pictures[0].title


def test_the_speed_is_drawn_without_its_damaged_samples(inputs: ReportData) -> None:
    section = inputs.campaigns[0]
    run = next(row for row in section.rows if row.judged.cell.test.sustained_s and row.judged.runs).judged.runs[0]
    path = section.folder / run.samples
    whole = path.read_text()
    try:
        path.write_text("nonsense\n")
        first = next(draw(inputs))
    finally:
        path.write_text(whole)
    assert len(first.figure.axes) == 1
