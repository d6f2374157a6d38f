from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.report.data.rows import NOT_A_SPEED, EvaluatedCampaign, as_facts
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Run
from smoothdroid.host.results.statistics import Interval, interval
from tests.host.fakes import campaign, model, phone, run_of, runs_of, write_results
from tests.host.report.whole import PLAN as WHOLE
from tests.host.report.whole import load_campaigns, prompt_answered, write_whole

PLAN = Plan(
    models=[model("plain"), model("smooth")],
    threads=[1, 2],
    tests=[Test(n_prompt=0, n_gen=8), Test(n_prompt=16, n_gen=0)],
    protocol=Protocol(repetitions=2, rounds=3),
)
CAMPAIGN = campaign(PLAN, phone())
CELLS = {(cell.model, cell.test.name, cell.threads): cell for cell in PLAN.cells()}
CELL = CELLS["plain", "pp16", 2]
STEADY = [9.9, 10.1, 10.0]


def measured(cell: Cell, *rates: float) -> list[Run]:
    """A process for each rate."""
    return runs_of(CAMPAIGN, cell, rates)


def failed(cell: Cell, why: str) -> list[Run]:
    return [run_of(CAMPAIGN, cell, failure=why)]


def section_of(folder: Path, *cells: list[Run]) -> EvaluatedCampaign:
    (section,) = load_campaigns([write_results(folder, CAMPAIGN, [run for runs in cells for run in runs])])
    return section


def shown(section: EvaluatedCampaign, cell: Cell) -> tuple[object, str]:
    (row,) = (r for r in section.rows if (r.model, r.test, r.threads) == (cell.model, cell.test.name, cell.threads))
    return row.tokens_per_s, row.remark


def test_a_row_for_every_cell_prefill_first(tmp_path: Path) -> None:
    section = section_of(tmp_path, *(measured(cell, 9.9, 10.0, 10.1) for cell in CELLS.values()))
    assert [(row.test, row.threads, row.model) for row in section.rows] == [
        ("pp16", 1, "plain"),
        ("pp16", 1, "smooth"),
        ("pp16", 2, "plain"),
        ("pp16", 2, "smooth"),
        ("tg8", 1, "plain"),
        ("tg8", 1, "smooth"),
        ("tg8", 2, "plain"),
        ("tg8", 2, "smooth"),
    ]
    assert {row.remark for row in section.rows} == {""}


def test_lengths_are_in_order_as_numbers(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"tests": [Test(n_prompt=n, n_gen=0) for n in (1024, 64, 512)]})
    (section,) = load_campaigns([write_results(tmp_path, campaign(plan, phone()), [])])
    assert list(dict.fromkeys(row.test for row in section.rows)) == ["pp64", "pp512", "pp1024"]


def test_a_measured_cell_shows_its_interval(tmp_path: Path) -> None:
    assert shown(section_of(tmp_path, measured(CELL, 9.9, 10.1, 10.0)), CELL) == (interval([9.9, 10.1, 10.0]), "")


def test_one_process_is_labelled_and_has_no_interval(tmp_path: Path) -> None:
    rate, remark = shown(section_of(tmp_path, [run_of(CAMPAIGN, CELL, [9.9, 10.0, 10.1])]), CELL)
    assert isinstance(rate, Interval)
    assert (rate.mean, rate.n) == (10.0, 1)
    assert math.isnan(rate.low)
    assert remark.startswith("one process: its repetitions do not show how much the next one differs")


def test_a_single_value_is_said_to_show_nothing(tmp_path: Path) -> None:
    section = section_of(tmp_path, [run_of(CAMPAIGN, CELL, [9.0])])
    rate, remark = shown(section, CELL)
    assert remark.startswith("a single value shows nothing of how it varies; one process: ")
    assert getattr(rate, "n", None) == 1


def test_the_first_token_has_an_interval_over_processes(tmp_path: Path) -> None:
    (section,) = load_campaigns([write_results(tmp_path, *prompt_answered(0.4, 0.5, 0.6))])
    (facts,) = as_facts(section)["rows"]
    expected = interval([0.4, 0.5, 0.6])
    ends = [facts[name] for name in ("first_token_s", "first_token_s_low", "first_token_s_high")]
    assert ends == pytest.approx([expected.mean, expected.low, expected.high])
    assert (facts["processes"], facts["repetitions"]) == (3, 3)


def test_energy_has_an_interval_over_processes_and_none_for_one(tmp_path: Path) -> None:
    (section,) = load_campaigns([write_whole(tmp_path, campaign(WHOLE, phone()))])
    rows = {(row["test"], row["processes"]): row for row in as_facts(section)["rows"] if row["joules_per_token"]}
    several = rows["tg128", 3]
    assert several["joules_per_token_low"] < several["joules_per_token"] < several["joules_per_token_high"]
    one = rows["tg128 for 2 min", 1]
    assert (one["joules_per_token_low"], one["joules_per_token_high"]) == (None, None)
    assert "J/token: of the whole phone, on battery" in section.notes


def test_an_emulated_phone_has_no_energy(tmp_path: Path) -> None:
    (section,) = load_campaigns([write_whole(tmp_path, campaign(WHOLE, phone(emulated=True)))])
    rows = as_facts(section)["rows"]
    assert any(row["verdict"] == "valid" for row in rows)
    assert {row[name] for row in rows for name in row if name.startswith("joules")} == {None}
    assert not any(note.startswith("J/token") for note in section.notes)


def test_a_cell_that_was_not_reached_is_shown(tmp_path: Path) -> None:
    assert shown(section_of(tmp_path), CELL) == (None, "not measured yet")


def test_a_failed_cell_is_shown_with_its_last_reason(tmp_path: Path) -> None:
    section = section_of(tmp_path, failed(CELL, "the first time"), failed(CELL, "killed"))
    assert shown(section, CELL) == (None, "failed: killed")


def test_a_failure_is_never_averaged_in(tmp_path: Path) -> None:
    section = section_of(tmp_path, failed(CELL, "killed"), measured(CELL, *STEADY))
    assert shown(section, CELL) == (interval(STEADY), "")
    later = section_of(tmp_path / "later", measured(CELL, *STEADY), failed(CELL, "killed"))
    assert shown(later, CELL) == (interval(STEADY), "")


def test_facts_are_strict_json(tmp_path: Path) -> None:
    section = section_of(
        tmp_path,
        [run_of(CAMPAIGN, CELL, [9.0, 9.02])],
        failed(CELLS["plain", "tg8", 1], "killed"),
        measured(CELLS["smooth", "tg8", 1], 1, 2),
    )
    facts = json.loads(json.dumps(as_facts(section), allow_nan=False))
    rows = {(row["model"], row["test"], row["threads"]): row for row in facts["rows"]}
    assert len(rows) == 8
    assert (facts["phone"], facts["transport"], facts["caveat"]) == ("Google Pixel 8", "adb", "")
    one = rows["plain", "pp16", 2]
    assert (one["tokens_per_s"], one["processes"], one["repetitions"]) == (9.01, 1, 2)
    assert (one["tokens_per_s_low"], one["tokens_per_s_high"]) == (None, None)
    assert [finding["check"] for finding in one["findings"] if finding["found"].startswith("one process")]
    none = rows["plain", "tg8", 1]
    assert (none["tokens_per_s"], none["processes"], none["repetitions"]) == (None, 0, 0)
    assert none["remark"] == "failed: killed"
    two = rows["smooth", "tg8", 1]
    assert (two["processes"], two["repetitions"]) == (2, 4)
    assert two["tokens_per_s_low"] < two["tokens_per_s"] < two["tokens_per_s_high"]


def test_an_emulated_phone_carries_a_caveat(tmp_path: Path) -> None:
    (section,) = load_campaigns([write_results(tmp_path, campaign(PLAN, phone(emulated=True), "ssh"), [])])
    assert section.title == "Google Pixel 8 (zuma), over ssh"
    assert section.caveat == NOT_A_SPEED
    assert as_facts(section)["caveat"] == NOT_A_SPEED


def test_no_results_and_damaged_results_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no results"):
        load_campaigns([tmp_path])
    folder = write_results(tmp_path / "x", CAMPAIGN, measured(CELL, 1.0))
    with (folder / "runs.jsonl").open("a") as record:
        record.write("nonsense\n")
    with pytest.raises(BadInput, match="line 2 is damaged"):
        load_campaigns([tmp_path])
