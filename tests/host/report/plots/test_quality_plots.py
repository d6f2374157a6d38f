from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Annotation

from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.plots import quality_size, quality_speed
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.results.cell import Test
from smoothdroid.host.results.statistics import interval
from tests.host.fakes import campaign, phone, run_of, write_results
from tests.host.report.whole import MODELS, PLAN


def points(picture: ReportFigure) -> list[tuple[float, float]]:
    (axes,) = picture.figure.axes
    drawn = [line.lines[0] for line in axes.containers if isinstance(line, ErrorbarContainer)]
    return [(float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0])) for line in drawn]


def arrows(picture: ReportFigure) -> list[Annotation]:
    return [text for text in picture.figure.axes[0].texts if isinstance(text, Annotation)]


def test_over_bytes_an_arrow_leads_from_plain_to_smoothed(inputs: ReportData) -> None:
    (picture,) = quality_size.draw(inputs)
    plain, smooth, _ = points(picture)
    assert plain[0] == smooth[0] == 100
    assert plain[1] > smooth[1]
    (arrow,) = arrows(picture)
    assert (arrow.xyann, arrow.xy) == (plain, smooth)
    assert "An arrow leads" in picture.description


def test_over_speed_a_setting_of_one_process_stays_at_its_rate(tmp_path: Path, inputs: ReportData) -> None:
    known = campaign(PLAN, phone())
    cells = [cell for cell in PLAN.cells() if cell.threads == 1 and cell.test == Test(n_gen=128)]
    write_results(tmp_path, known, [run_of(known, cell, [10.0, 10.02]) for cell in cells if not cell.cpus])
    (picture,) = quality_speed.draw(replace(inputs, campaigns=load([tmp_path]).campaigns))
    assert [x for x, _ in points(picture)] == pytest.approx([10.01, 10.01])


def test_over_speed_each_model_has_its_best_valid_setting(inputs: ReportData) -> None:
    first, second = quality_speed.draw(inputs)
    (plain, smooth), (other,) = points(first), points(second)
    assert [plain[0], smooth[0]] == pytest.approx([interval([40, 40.4, 39.6]).mean, interval([41, 41.41, 40.59]).mean])
    assert other[0] == pytest.approx(10)
    assert len(arrows(first)) == 1
    assert arrows(second) == []
    assert MODELS[0].name in first.description
