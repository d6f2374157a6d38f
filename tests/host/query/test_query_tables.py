from __future__ import annotations

import json
import statistics
from pathlib import Path

from smoothdroid.host.query.tables import CAMPAIGNS, CELLS, RUNS, TABLES, rows_of
from smoothdroid.host.report.data.rows import as_facts, evaluate_campaign
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import read_runs
from tests.host.fakes import campaign, model, phone, run_of, runs_of, write_results
from tests.host.query.conftest import MEASURED
from tests.host.report.whole import PLAN, whole, write_whole


def test_cells_say_what_the_report_says() -> None:
    cells = rows_of(MEASURED)["cells"]
    reported = as_facts(evaluate_campaign(MEASURED))["rows"]
    assert len(cells) == len(reported) == 40
    for cell, row in zip(cells, reported, strict=True):
        assert (cell["model"], cell["test"], cell["n_threads"], cell["cpus"]) == (
            row["model"],
            row["test"],
            row["threads"],
            row["cpus"],
        )
        assert (cell["verdict"] or "-", cell["remark"]) == (row["verdict"], row["remark"])
        assert cell["repetitions"] == row["repetitions"]
        believed = row["verdict"] == "valid"
        assert cell["unbelieved_tokens_per_s"] == cell["rejected_tokens_per_s"]
        assert cell["rejected_tokens_per_s"] == (None if believed else row["tokens_per_s"])
        assert cell["processes"] == row["processes"]
        for end in ("", "_low", "_high"):
            assert cell[f"joules_per_token{end}"] == row[f"joules_per_token{end}"]
            assert cell[f"tokens_per_s{end}"] == (row[f"tokens_per_s{end}"] if believed else None)


def test_what_is_measured_has_all_three_fates() -> None:
    """Else the test above would see nothing."""
    verdicts = {cell["verdict"] for cell in rows_of(MEASURED)["cells"]}
    assert {"valid", "throttled", None} <= verdicts


def test_a_believed_cell_has_its_interval_and_its_median(tmp_path: Path) -> None:
    known = campaign(plan := _plan(), phone())
    cell, other = plan.cells()
    runs = [*runs_of(known, cell, [9.9, 10.0, 10.2]), *runs_of(known, other, [5.0, 9.0])]
    one, two = rows_of(write_results(tmp_path, known, runs))["cells"]
    assert (one["processes"], one["repetitions"]) == (3, 6)
    assert (one["tokens_per_s"], one["tokens_per_s_median"]) == (statistics.fmean([9.9, 10.0, 10.2]), 10.0)
    assert one["tokens_per_s_low"] < 9.9 < 10.2 < one["tokens_per_s_high"]
    assert two["verdict"] == "unstable"
    numbers = ("tokens_per_s", "tokens_per_s_low", "tokens_per_s_high", "tokens_per_s_median")
    assert [two[name] for name in numbers] == [None] * 4
    assert two["rejected_tokens_per_s"] == 7.0


def test_a_cell_of_one_process_has_no_interval_however_many_its_repetitions(tmp_path: Path) -> None:
    known = campaign(plan := _plan(), phone())
    cell, _ = plan.cells()
    folder = write_results(tmp_path, known, [run_of(known, cell, [9.9, 10.0, 10.1])])
    one, _ = rows_of(folder)["cells"]
    assert (one["verdict"], one["tokens_per_s"], one["processes"], one["repetitions"]) == ("valid", 10.0, 1, 3)
    assert (one["tokens_per_s_low"], one["tokens_per_s_high"]) == (None, None)
    assert one["remark"].startswith("one process: ")


def test_the_first_token_and_the_energy_have_intervals_over_processes(tmp_path: Path) -> None:
    inputs = whole(tmp_path)
    assert [phone.campaign.phone.emulated for phone in inputs.campaigns] == [False, False]
    cells = [cell for cell in rows_of(tmp_path / "a")["cells"] if cell["joules_per_token"] is not None]
    bursts = [cell for cell in cells if not cell["sustained_s"]]
    assert bursts
    for cell in bursts:
        assert cell["joules_per_token_low"] < cell["joules_per_token"] < cell["joules_per_token_high"]
    for cell in cells:
        if cell["sustained_s"]:
            assert (cell["processes"], cell["joules_per_token_low"]) == (1, None)


def test_an_emulated_phone_has_no_energy(tmp_path: Path) -> None:
    write_whole(tmp_path, campaign(PLAN, phone(emulated=True)))
    cells = rows_of(tmp_path)["cells"]
    assert any(cell["verdict"] == "valid" for cell in cells)
    assert {cell[name] for cell in cells for name in cell if name.startswith("joules")} == {None}


def test_every_run_is_there_with_what_became_of_it() -> None:
    runs = rows_of(MEASURED)["runs"]
    recorded = read_runs(MEASURED)
    assert [run["samples_ts"] for run in runs] == [run.tokens_per_s for run in recorded]
    assert {run["counted"] for run in runs} == {True, False}
    assert all((run["tokens_per_s"] is not None) == run["counted"] for run in runs)
    assert max(run["celsius_max"] for run in runs) == 27.0


def test_a_failed_run_is_a_row_and_counts_for_nothing(tmp_path: Path) -> None:
    known = campaign(plan := _plan(), phone())
    cell, _ = plan.cells()
    folder = write_results(tmp_path, known, [run_of(known, cell, failure="killed")])
    (run,) = rows_of(folder)["runs"]
    assert (run["failure"], run["counted"], run["tokens_per_s"], run["samples_ts"]) == ("killed", False, None, [])
    assert rows_of(folder)["cells"][0]["remark"] == "failed: killed"


def test_rows_have_the_columns_that_are_documented() -> None:
    rows = rows_of(MEASURED)
    for table in TABLES:
        for row in rows[table.name]:
            assert list(row) == [column.name for column in table.columns]
        assert all(column.says for column in table.columns)
        names = [column.name for column in table.shown]
        assert len(names) == len(set(names))
    assert [column.name for column in CELLS.shared] == [
        "campaign",
        "phone",
        "soc",
        "transport",
        "emulated",
        "build_isa",
    ]
    assert {"campaign", "phone", "emulated"} <= {column.name for column in RUNS.shown}
    assert json.loads(json.dumps(rows[CAMPAIGNS.name]))[0]["phone"] == "Google Pixel 8"


def _plan() -> Plan:
    return Plan(models=[model("a")], tests=[Test(n_gen=8)], threads=[1, 2], protocol=Protocol(repetitions=3))
