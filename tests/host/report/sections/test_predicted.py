"""Measured against predicted speed, on a Snapdragon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer

from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.gguf.memory_shape import Shape
from smoothdroid.host.predict import work
from smoothdroid.host.report.data.predicted import PredictedSetting
from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.plots.predicted import draw
from smoothdroid.host.report.sections import predicted
from smoothdroid.host.report.sections.report import build_report
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import append, write_campaign
from tests.host.fakes import campaign, model, phone, runs_of

LLAMA = work.of("llama-2-7b")
MULTIPLIED = LLAMA.multiplied or 0
SHAPE = Shape(
    weights_bytes=LLAMA.weights_bytes,
    layers=32,
    keys=32 * 4096,
    values=32 * 4096,
    hidden=2 * 11008,
    multiplied=MULTIPLIED,
    multiplied_bytes=MULTIPLIED * 34 // 32,
)


def llama() -> Artifact:
    known = {"decode_bytes": LLAMA.weights_bytes, "shape": SHAPE, "size_bytes": 7_160_000_000}
    return model("llama-2-7b-q8_0").model_copy(update=known)


def measured(folder: Path, rates: dict[Test, float], processes: int = 3, **known: Any) -> ReportData:
    """A campaign with one steady cell of three processes for each test."""
    plan = Plan(
        models=[llama()], threads=[4], tests=list(rates), masks=[()], protocol=Protocol(repetitions=2, rounds=3)
    )
    at = campaign(plan, phone(**{"soc": "SM8550", **known}))
    write_campaign(folder, at)
    for cell in plan.cells():
        rate = rates[cell.test]
        for run in runs_of(at, cell, [rate, rate * 1.01, rate * 0.99][:processes]):
            append(folder, run)
    return load([folder])


def only_phone(data: ReportData) -> list[PredictedSetting]:
    ((_, settings),) = data.predictions
    return settings


DECODE, PREFILL = Test(n_gen=128), Test(n_prompt=512)


def test_a_best_setting_is_held_against_its_prediction(tmp_path: Path) -> None:
    inputs = measured(tmp_path, {DECODE: 4.0, PREFILL: 20.0})
    found = only_phone(inputs)
    assert [one.against.verdict for one in found] == ["as predicted", "as predicted"]
    by_test = {one.best.row.test: one.against.expected for one in found}

    table = predicted.table(inputs.phones[0], found)
    rows = {row[1].text: [cell.text for cell in row] for row in table.rows}
    assert rows["tg128"][2] == "4.00"
    assert float(rows["tg128"][4]) == pytest.approx(by_test["tg128"].ceiling, rel=0.01)
    assert rows["tg128"][5] == f"{4.0 / by_test['tg128'].ceiling:.0%}"

    (figure,) = draw(inputs)
    (axes,) = figure.figure.axes
    (bars,) = (drawn for drawn in axes.containers if isinstance(drawn, BarContainer))
    (points,) = (drawn for drawn in axes.containers if isinstance(drawn, ErrorbarContainer))
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert np.allclose(spans, [(one.against.expected.low, one.against.expected.high) for one in found])
    assert sorted(np.asarray(points.lines[0].get_xdata()).tolist()) == [4.0, 20.0]
    assert "tg128: 4.00 tokens/s, predicted" in figure.description
    assert "predicted" in [section.id for section in build_report(inputs).sections]


def test_a_setting_of_one_process_is_a_point_without_a_bar(tmp_path: Path) -> None:
    inputs = measured(tmp_path, {DECODE: 4.0}, processes=1)
    (figure,) = draw(inputs)
    (axes,) = figure.figure.axes
    (points,) = (drawn for drawn in axes.containers if isinstance(drawn, ErrorbarContainer))
    assert np.asarray(points.lines[0].get_xdata()).tolist() == [4.0]
    low, high = axes.get_xlim()
    assert low < 4.0 < high
    assert "one process, no interval" in "".join(build_report(inputs).sections[0].content.sentences)


def test_what_passes_no_prediction_is_said(tmp_path: Path) -> None:
    (one,) = only_phone(measured(tmp_path, {DECODE: 0.5}))
    assert one.against.verdict == "slower than predicted"


@pytest.mark.parametrize("known", [{"emulated": True}, {"soc": "none that is known"}])
def test_where_nothing_is_expected_nothing_is_shown(tmp_path: Path, known: dict[str, Any]) -> None:
    inputs = measured(tmp_path, {DECODE: 4.0}, **known)
    assert only_phone(inputs) == []
    assert "predicted" not in [section.id for section in build_report(inputs).sections]
