from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from smoothdroid.host.common import console
from smoothdroid.host.compare.by import parse
from smoothdroid.host.compare.comparison import ComparedResults
from smoothdroid.host.compare.matching import load, within
from smoothdroid.host.compare.tables import notes, sides, terminal
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.report.data.rows import NOT_A_SPEED
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import campaign, model, phone, run_of, write_results

PLAN = Plan(
    models=[model("[b]$m")],
    threads=[1, 2, 4],
    tests=[Test(n_prompt=64, n_gen=0)],
    options=[Options(depth=32, mmap="off")],
    protocol=Protocol(repetitions=2, rounds=3),
)
FAST, SLOW = (10.0, 10.1, 9.9), (9.0, 9.1, 8.9)


def results(folder: Path, plan: Plan, rates: Sequence[Sequence[float]], transport: str = "adb") -> Path:
    """Results with a rate for each round of each cell; no rate: the cell failed."""
    known = campaign(plan, phone(emulated=True), transport)
    runs = []
    for cell, came in zip(plan.cells(), rates, strict=True):
        measured = [run_of(known, cell, [rate, rate]) for rate in came]
        runs += [run.model_copy(update={"round": number}) for number, run in enumerate(measured)]
        runs += [] if came else [run_of(known, cell, failure="killed")]
    return write_results(folder, known, runs)


@pytest.fixture
def compared(tmp_path: Path) -> ComparedResults:
    """Slower with one thread, one process with two, failed with four; over adb and ssh."""
    for transport in ("adb", "ssh"):
        results(tmp_path / "a" / transport, PLAN, [FAST, FAST, FAST], transport)
        results(tmp_path / "b" / transport, PLAN, [SLOW, (9.0,), ()], transport)
    return load(tmp_path / "a", tmp_path / "b", 0.05)


def shown(compared: ComparedResults) -> list[list[str]]:
    """The cells of the first table's rows, and its heads."""
    wide = Console(width=300, markup=False)
    with wide.capture() as captured:
        wide.print(next(terminal(compared)))
    lines = captured.get().splitlines()
    rows = [line.replace("┃", "│").split("│")[1:-1] for line in lines if "┃" in line or "│" in line]
    return [[cell.strip() for cell in row] for row in rows]


def test_every_row_has_cpus_settings_processes_and_the_adjusted_p_value(compared: ComparedResults) -> None:
    tables = list(terminal(compared))
    assert [table.title for table in tables] == [
        f"Google Pixel 8 (zuma), over {transport}" for transport in ("adb", "ssh")
    ]
    assert {table.caption for table in tables} == {NOT_A_SPEED}
    found = compared.pairs[0].difference
    interval = f"{found.comparison.ratio.low:.3f} to {found.comparison.ratio.high:.3f}"
    heads, slower, single = shown(compared)
    assert " | ".join(heads) == (
        "model | test | CPUs | threads | settings | processes | A tokens/s | B tokens/s | B / A | 95% interval | "
        "adjusted p | B is | remark"
    )
    setting = ["[b]$m", "pp64", "any", "1", "depth 32, mmap off"]
    answer = [interval, "<0.001", "slower, a regression"]
    assert slower == [*setting, "3 and 3", "10.0", "9.00", "0.900", *answer, ""]
    assert found.p_value == 2 * found.comparison.p_value  # two cells have one
    setting[3] = "2"
    assert single[:-1] == [*setting, "3 and 1", "10.0", "9.00", "0.900", "-", "-", "not significant"]
    assert single[-1].startswith("one process: measure with --rounds 5")


def test_what_the_tables_do_not_show(compared: ComparedResults, tmp_path: Path) -> None:
    assert sides(compared) == [f"A: {tmp_path}/a", f"B: {tmp_path}/b"]
    assert notes(compared) == [
        "only in A: [b]$m pp64, 4 threads, depth 32, mmap off, Google Pixel 8 over adb: failed: killed",
        "only in A: [b]$m pp64, 4 threads, depth 32, mmap off, Google Pixel 8 over ssh: failed: killed",
        "4 of 4 cells are compared unpaired (Welch): A and B come from different campaigns, whose rounds were not "
        "interleaved, so no interval covers what else changed between them",
        "`faster` and `slower` account for the number of cells (Holm, 2 tested): if nothing changed, the probability "
        "of any of them is at most 5%; each interval is for its own cell alone",
        "2 of 4 cells are significantly slower, by more than 5 %",
    ]


def test_settings_of_one_campaign_are_shown_in_pairs_without_the_one_that_differs(tmp_path: Path) -> None:
    folder = results(tmp_path / "results", PLAN, [FAST, FAST, (9.0,)])
    compared = within(folder, *parse("threads=1,2"), 0.05)
    heads, row = shown(compared)
    assert heads[:5] == ["model", "test", "CPUs", "settings", "processes"]
    assert row[:5] == ["[b]$m", "pp64", "any", "depth 32, mmap off", "3 pairs"]
    assert sides(compared) == [f"A: threads 1, in {folder}", f"B: threads 2, in {folder}"]
    assert "1 of 1 cells are compared in pairs of processes, each pair from one round" in notes(compared)
    assert not any("Welch" in line for line in notes(compared))
    one = within(folder, *parse("threads=1,4"), 0.05)
    assert shown(one)[1][4] == "1 pair"
    assert not any("Holm" in line for line in notes(one)), "no cell was tested"


@pytest.mark.parametrize(("text", "settings"), [("mmap=off,default", "depth 32"), ("depth=32,0", "mmap off")])
def test_an_option_that_differs_is_not_among_the_settings(tmp_path: Path, text: str, settings: str) -> None:
    options = [Options(depth=32, mmap="off"), Options(depth=32), Options(mmap="off")]
    plan = PLAN.model_copy(update={"options": options, "threads": [1]})
    compared = within(results(tmp_path / "results", plan, [FAST] * 3), *parse(text), 0.05)
    assert shown(compared)[1][4] == settings
    only = within(tmp_path / "results", *parse("mmap=off,default"), 0.05).only_a
    assert only == ["[b]$m pp64, 1 thread, mmap off, Google Pixel 8 over adb: not in the plan"]


def test_default_settings_are_called_so(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"options": [Options()], "threads": [1]})
    folder = results(tmp_path / "results", plan, [FAST])
    assert shown(load(folder, folder, 0.05))[1][4] == "default"


def printed(compared: ComparedResults, monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    """The lines that a terminal of this width shows."""
    terminal_of_width = Console(width=width, markup=False)
    monkeypatch.setattr(console, "out", terminal_of_width)
    with terminal_of_width.capture() as captured:
        for table in terminal(compared):
            console.show(table)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    return lines


@pytest.mark.parametrize("width", [60, 120, 200])
def test_the_end_of_a_long_name_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    plan = PLAN.model_copy(update={"models": [model(f"{'long-' * 30}{end}") for end in ("plain", "smooth")]})
    folder = results(tmp_path / "a", plan, [FAST] * 6)
    text = "".join("".join(printed(load(folder, folder, 0.05), monkeypatch, width)).split())
    assert "…" not in text
    assert "smooth" in text


@pytest.mark.parametrize("width", [40, 80])
def test_on_a_narrow_terminal_each_cell_is_a_block(
    compared: ComparedResults, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    lines = printed(compared, monkeypatch, width)
    values = [line.split(maxsplit=1) for line in lines if line.startswith(("CPUs", "settings", "processes"))]
    assert [(name, value.strip()) for name, value in values] == 2 * [
        ("CPUs", "any"),
        ("settings", "depth 32, mmap off"),
        ("processes", "3 and 3"),
        ("CPUs", "any"),
        ("settings", "depth 32, mmap off"),
        ("processes", "3 and 1"),
    ]
