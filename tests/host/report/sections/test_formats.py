"""The table of formats and its data: the format of a file, and the memory that it took on the phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.host.llamacpp.kernel_log import Kernels
from smoothdroid.host.report.data.model_files import ModelFile, pairs
from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.plots.memory import draw
from smoothdroid.host.report.sections import memory
from smoothdroid.host.report.sections.formats import format_tables
from smoothdroid.host.report.sections.section import NONE_VALID, NOT_MEASURED
from smoothdroid.host.results.record import append, write_campaign
from tests.host.fakes import campaign, model, phone, run_of
from tests.host.report.whole import HOSTILE, MODELS, PLAN, artifact, evaluation, rates, samples


def by_format(inputs: ReportData, at: int = 0) -> dict[str, list[str]]:
    table = list(format_tables(inputs))[at]
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_every_cell_is_measured_or_says_that_it_is_not(inputs: ReportData) -> None:
    told = by_format(inputs)
    assert list(told) == ["FP16", "Q8_0", "SmoothQuant Q8_0"]
    assert told["FP16"] == [NOT_MEASURED] * 7
    assert told["Q8_0"][:4] == ["100.0", "200", "400", "40.0"]
    assert told["SmoothQuant Q8_0"][2:4] == ["401", "41.0"]
    assert NOT_MEASURED not in told["SmoothQuant Q8_0"]


def test_every_figure_says_where_it_is_from(inputs: ReportData) -> None:
    table, quality = next(format_tables(inputs)), inputs.evaluations[0]
    plain = table.rows[1]
    recorded = {run.fingerprint for run in inputs.campaigns[0].runs}
    for cell in plain[2:5]:
        assert cell.note.rpartition("cell ")[2] in recorded
    assert plain[1].note == f"file {MODELS[0].sha256[:12]}"
    assert [cell.note for cell in plain[5:]] == [quality.name] * 3


def test_measured_and_not_believed_is_not_called_not_measured(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    write_campaign(tmp_path, known)
    for cell in PLAN.cells():
        if cell.model == MODELS[0].name and cell.test.n_gen and not cell.test.sustained_s:
            append(tmp_path, run_of(known, cell, [1.0, 2.0, 3.0]))
    told = by_format(load([tmp_path]))["Q8_0"]
    assert told[2:4] == [NOT_MEASURED, NONE_VALID]


def test_a_model_of_which_nothing_tells_gets_no_empty_rows(inputs: ReportData) -> None:
    assert list(by_format(inputs, at=1)) == [HOSTILE]


@pytest.mark.parametrize(
    ("made", "format_", "smooth"),
    [
        (artifact("x", "f16"), "FP16", False),
        (artifact("x", "q8_0", smooth=True), "SmoothQuant Q8_0", True),
        (artifact("x", "q4_0"), "Q4_0", False),
        (model("tiny-smooth-q8_0"), "SmoothQuant Q8_0", True),
        (model("other"), "", False),
        (model("x").model_copy(update={"manifest": {"recipe": [HOSTILE]}}), "", False),
        (
            artifact("x", "q8_0", smooth=True).model_copy(update={"manifest": {"recipe": {"quantisation": 3}}}),
            "",
            False,
        ),
    ],
)
def test_the_format_of_a_file(tmp_path: Path, made: object, format_: str, smooth: bool) -> None:
    write_campaign(tmp_path, campaign(PLAN.model_copy(update={"models": [made]}), phone()))
    (file,) = load([tmp_path]).model_files
    assert (file.format, file.smooth) == (format_, smooth)


def test_auto_that_chose_plain_is_plain(tmp_path: Path) -> None:
    made = artifact("x", "q8_0", smooth=True)
    assert made.manifest
    made = made.model_copy(update={"manifest": {**made.manifest, "outcome": {"chosen": "plain"}}})
    write_campaign(tmp_path, campaign(PLAN.model_copy(update={"models": [made]}), phone()))
    (file,) = load([tmp_path]).model_files
    assert file.format == "Q8_0"


def test_plain_and_smoothed_of_one_checkpoint_and_type_are_a_pair(inputs: ReportData) -> None:
    (quality,) = inputs.evaluations
    assert pairs(quality.evaluation, inputs.model_files) == [(MODELS[0].sha256, MODELS[1].sha256)]
    others = [
        ModelFile(m.name, m.sha256, 1, "tiny", label)
        for m, label in zip(MODELS, ("Q4_0", "SmoothQuant Q8_0"), strict=True)
    ]
    assert pairs(evaluation(MODELS), others) == []


def test_the_run_that_took_most_tells_the_memory(tmp_path: Path, inputs: ReportData) -> None:
    known = campaign(PLAN, phone())
    write_campaign(tmp_path, known)
    for number, cell in enumerate(cell for cell in PLAN.cells() if cell.model == MODELS[0].name):
        told = Kernels(weights_mb={"CPU_Mapped": 130.0, "CPU_REPACK": 90.5}, cache_mb=4.5 + number)
        run = run_of(known, cell, rates(cell)).model_copy(update={"kernels": told})
        unmeasured = "".join(line for line in samples(run).splitlines(keepends=True) if ":Pss:" not in line)
        append(tmp_path, run, unmeasured)
    data = load([tmp_path])
    ((phone_results, (plain, smooth)),) = data.memory
    assert (plain.weights_mb, plain.cache_mb, plain.pss_mb) == (220.5, 4.5 + number, None)
    assert (smooth.row, smooth.weights_mb) == (None, None)
    cells = [cell.text for cell in memory.table(phone_results, [plain, smooth]).rows[1]]
    assert cells[2:] == [NOT_MEASURED] * 5
    (figure,) = draw(data)
    weights = figure.figure.axes[0].patches[0]
    assert weights.get_width() == 220.5  # type: ignore[attr-defined]
    assert "peak PSS not measured" in figure.description
