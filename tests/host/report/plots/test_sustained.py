from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from smoothdroid.host.report.data.report_data import Inputs
from smoothdroid.host.report.plots.sustained import ZONES, over_time
from tests.host.report.whole import MODELS, SUSTAINED_S


def test_speed_temperature_and_frequency_share_one_axis_of_time(inputs: Inputs) -> None:
    first = next(over_time(inputs.sections, []))
    rates, celsius, mhz = first.figure.axes
    assert [axes.get_ylabel() for axes in (rates, celsius, mhz)] == ["tokens/s", "°C", "MHz"]
    assert mhz.get_xlabel() == "minutes"
    assert rates.get_xlim() == celsius.get_xlim() == mhz.get_xlim()
    (steps,) = rates.patches
    assert isinstance(steps, StepPatch)
    values, edges, _ = steps.get_data()
    assert values == pytest.approx([10.0, 9.0, 8.0])
    assert edges == pytest.approx([0, 12.8 / 60, (12.8 + 128 / 9) / 60, (12.8 + 128 / 9 + 16) / 60])


def test_time_begins_with_the_repetitions_not_with_loading(inputs: Inputs) -> None:
    first = next(over_time(inputs.sections, []))
    _, celsius, _ = first.figure.axes
    times = np.asarray(celsius.lines[0].get_xdata(), dtype=float)
    assert times[0] == pytest.approx(0, abs=1 / 60)
    assert min(times) >= 0


def test_zones_and_clusters_are_named_and_told(inputs: Inputs) -> None:
    first = next(over_time(inputs.sections, []))
    _, celsius, mhz = first.figure.axes
    legends = [axes.get_legend() for axes in (celsius, mhz)]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends if legend] == [
        ["BIG", "skin"],
        ["4×Cortex-A715", "4×Cortex-A510"],
    ]
    assert "BIG from 31" in first.description
    assert "first minute" in first.description
    assert ZONES >= 2


def test_a_picture_for_each_cell_that_was_kept_up(inputs: Inputs) -> None:
    pictures = list(over_time(inputs.sections, []))
    measured = [row for s in inputs.sections for row in s.rows if row.judged.cell.test.sustained_s and row.tokens_per_s]
    assert len(pictures) == len(measured) > len(MODELS)
    assert len({picture.name for picture in pictures}) == len(pictures)
    assert f"{SUSTAINED_S // 60} min" in pictures[0].title


def test_damaged_samples_are_named_and_the_speed_is_still_drawn(inputs: Inputs) -> None:
    section = inputs.sections[0]
    run = next(row for row in section.rows if row.judged.cell.test.sustained_s and row.judged.runs).judged.runs[0]
    path = section.folder / run.samples
    whole = path.read_text()
    damage: list[str] = []
    try:
        path.write_text("nonsense\n")
        first = next(over_time(inputs.sections, damage))
    finally:
        path.write_text(whole)
    assert len(first.figure.axes) == 1
    assert len(damage) == 1
    assert str(path) in damage[0]
