"""The table of forms, and what stands behind it: which form a file is, and what it took of the phone's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.host.llamacpp.kernel_log import Kernels
from smoothdroid.host.report.data.model_files import Form, forms, pairs
from smoothdroid.host.report.data.phone_results import groups
from smoothdroid.host.report.data.report_data import Inputs, load
from smoothdroid.host.report.sections import formats as measured
from smoothdroid.host.report.sections import memory
from smoothdroid.host.report.sections.section import NOT_VALID, NOTHING
from smoothdroid.host.results.record import append, write_campaign
from tests.host.fakes import campaign, model, phone, run_of
from tests.host.report.whole import HOSTILE, MODELS, PLAN, artifact, evaluation, rates, samples


def by_form(inputs: Inputs, at: int = 0) -> dict[str, list[str]]:
    group = groups(inputs.sections)[at]
    (table,) = measured.tables(group, measured.accuracy(inputs.evaluations), forms(inputs))
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_every_cell_is_measured_or_says_that_it_is_not(inputs: Inputs) -> None:
    told = by_form(inputs)
    assert list(told) == ["FP16", "Q8_0", "SmoothQuant Q8_0"]
    assert told["FP16"] == [NOTHING] * 7
    assert told["Q8_0"][:4] == ["100.0", "200", "400", "40.0"]
    assert told["SmoothQuant Q8_0"][2:4] == ["401", "41.0"]
    assert NOTHING not in told["SmoothQuant Q8_0"]


def test_every_figure_says_where_it_is_from(inputs: Inputs) -> None:
    group, found = groups(inputs.sections)[0], inputs.evaluations[0]
    (table,) = measured.tables(group, measured.accuracy(inputs.evaluations), forms(inputs))
    plain = table.rows[1]
    recorded = {run.fingerprint for run in inputs.sections[0].runs}
    for cell in plain[2:5]:
        assert cell.note.rpartition("cell ")[2] in recorded
    assert plain[1].note == f"file {MODELS[0].sha256[:12]}"
    assert [cell.note for cell in plain[5:]] == [f"quality-{found.id}"] * 3


def test_measured_and_not_believed_is_not_called_not_measured(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    write_campaign(tmp_path, known)
    for cell in PLAN.cells():
        if cell.model == MODELS[0].name and cell.test.n_gen and not cell.test.sustained_s:
            append(tmp_path, run_of(known, cell, [1.0, 2.0, 3.0]))
    told = by_form(load([tmp_path]))["Q8_0"]
    assert told[2:4] == [NOTHING, NOT_VALID]


def test_a_model_of_which_nothing_tells_gets_no_empty_rows(inputs: Inputs) -> None:
    assert list(by_form(inputs, at=1)) == [HOSTILE]


@pytest.mark.parametrize(
    ("made", "label", "smooth"),
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
def test_the_form_of_a_file(tmp_path: Path, made: object, label: str, smooth: bool) -> None:
    write_campaign(tmp_path, campaign(PLAN.model_copy(update={"models": [made]}), phone()))
    (form,) = forms(load([tmp_path]))
    assert (form.label, form.smooth) == (label, smooth)


def test_auto_that_chose_plain_is_plain(tmp_path: Path) -> None:
    made = artifact("x", "q8_0", smooth=True)
    assert made.manifest
    made = made.model_copy(update={"manifest": {**made.manifest, "outcome": {"chosen": "plain"}}})
    write_campaign(tmp_path, campaign(PLAN.model_copy(update={"models": [made]}), phone()))
    (form,) = forms(load([tmp_path]))
    assert form.label == "Q8_0"


def test_plain_and_smoothed_of_one_checkpoint_and_type_are_a_pair(inputs: Inputs) -> None:
    (found,) = inputs.evaluations
    assert pairs(found, forms(inputs)) == [(MODELS[0].sha256, MODELS[1].sha256)]
    others = [
        Form(m.name, m.sha256, 1, "tiny", label) for m, label in zip(MODELS, ("Q4_0", "SmoothQuant Q8_0"), strict=True)
    ]
    assert pairs(evaluation(MODELS), others) == []


def test_the_run_that_took_most_tells_the_memory(tmp_path: Path, inputs: Inputs) -> None:
    known = campaign(PLAN, phone())
    write_campaign(tmp_path, known)
    for number, cell in enumerate(cell for cell in PLAN.cells() if cell.model == MODELS[0].name):
        told = Kernels(weights_mb={"CPU_Mapped": 130.0, "CPU_REPACK": 90.5}, cache_mb=4.5 + number)
        run = run_of(known, cell, rates(cell)).model_copy(update={"kernels": told})
        unmeasured = "".join(line for line in samples(run).splitlines(keepends=True) if ":Pss:" not in line)
        append(tmp_path, run, unmeasured)
    (group,) = groups(load([tmp_path]).sections)
    plain, smooth = memory.taken(group, forms(inputs))
    assert (plain.weights_mb, plain.cache_mb, plain.pss_mb) == (220.5, 4.5 + number, None)
    assert (smooth.row, smooth.weights_mb) == (None, None)
    cells = [cell.text for cell in memory.table(group, [plain, smooth]).rows[1]]
    assert cells[2:] == [NOTHING] * 5
    picture = memory.picture(1, group, [plain, smooth])
    assert picture
    weights = picture.figure.axes[0].patches[0]
    assert weights.get_width() == 220.5  # type: ignore[attr-defined]
    assert "peak PSS not measured" in picture.description
    assert memory.picture(1, group, [smooth]) is None
