from __future__ import annotations

import csv
import io
import re
import statistics
from pathlib import Path

import pytest

from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.tables.cells_csv import LLAMA_BENCH, OURS, cells
from smoothdroid.host.results.statistics import interval
from tests.host.fakes import campaign, model, phone, run_of, write_results
from tests.host.report.whole import PLAN, prompt_answered, write_whole


def read(inputs: ReportData) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(cells(inputs.campaigns))))


def test_the_columns_are_llama_benchs_own_in_its_order(llama_cpp: Path) -> None:
    source = (llama_cpp / "tools" / "llama-bench" / "llama-bench.cpp").read_text()
    body = source.partition("& get_fields() {")[2].partition("};")[0]
    theirs = re.findall(r'"(\w+)"', body)
    assert len(theirs) > 30
    assert [name for name in theirs if name in LLAMA_BENCH] == list(LLAMA_BENCH)
    assert not set(OURS) & set(theirs)


def test_a_line_for_each_cell(inputs: ReportData) -> None:
    rows = read(inputs)
    assert len(rows) == sum(len(section.rows) for section in inputs.campaigns)
    best = next(
        r
        for r in rows
        if (r["model_filename"], r["n_threads"], r["cpus"], r["test"])
        == ("models/tiny-plain-q8_0.gguf", "4", "mid", "tg128")
    )
    assert (best["avg_ts"], best["verdict"], best["emulated"]) == ("40", "valid", "0")
    assert (best["processes"], best["repetitions"]) == ("3", "6")
    assert float(best["low_ts"]) < 40 < float(best["high_ts"])
    assert float(best["joules_per_token_low"]) < 2 / 40 < float(best["joules_per_token_high"])
    assert float(best["stddev_ts"]) == pytest.approx(statistics.stdev([40, 40, 40.4, 40.4, 39.6, 39.6]), rel=1e-5)
    assert best["test_time"] == "2026-01-02T00:00:00Z"
    failed = next(row for row in rows if row["n_threads"] == "2" and row["cpus"] == "any")
    assert (failed["avg_ts"], failed["processes"], failed["repetitions"]) == ("", "0", "0")
    assert failed["remark"].startswith("failed: killed")


def test_what_is_not_believed_has_its_verdict_beside_it(inputs: ReportData) -> None:
    shown = {
        row["verdict"]
        for row in read(inputs)
        if row["n_threads"] == "4" and row["cpus"] == "any" and row["test"] == "tg128"
    }
    assert shown == {"unstable"}


def test_one_process_leaves_its_interval_empty_and_is_labelled(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    cell = next(PLAN.cells())
    write_results(tmp_path, known, [run_of(known, cell, [9.9, 10.0, 10.1])])
    row = next(row for row in read(load([tmp_path])) if row["avg_ts"])
    assert (row["avg_ts"], row["processes"], row["repetitions"], row["verdict"]) == ("10", "1", "3", "valid")
    assert (row["low_ts"], row["high_ts"]) == ("", "")
    assert row["remark"].startswith("one process: ")


def test_a_first_token_has_its_interval(tmp_path: Path) -> None:
    known, runs = prompt_answered(0.4, 0.5, 0.6)
    write_results(tmp_path, known, runs)
    (row,) = read(load([tmp_path]))
    found = interval([0.4, 0.5, 0.6])
    ends = [float(row[name]) for name in ("first_token_s", "first_token_s_low", "first_token_s_high")]
    assert ends == pytest.approx([found.mean, found.low, found.high], rel=1e-4)


def test_an_emulated_phone_has_no_energy(tmp_path: Path) -> None:
    write_whole(tmp_path, campaign(PLAN, phone(emulated=True)))
    rows = read(load([tmp_path]))
    assert any(row["verdict"] == "valid" for row in rows)
    assert {row[name] for row in rows for name in row if name.startswith("joules")} == {""}


def test_no_name_is_a_formula(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"models": [model("=HYPERLINK(1)", folder=Path("."))]})
    write_whole(tmp_path, campaign(plan, phone(model='=cmd|"/c calc"!A1', soc="@x")))
    rows = read(load([tmp_path]))
    assert rows
    for row in rows:
        assert all(not value.startswith(("=", "@", "+")) for value in row.values()), row
    assert rows[0]["phone"] == '\'=cmd|"/c calc"!A1'
