from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from host.bench.cell import Protocol, Test
from host.bench.plan import Plan
from host.report.compare import Compared, load
from host.report.compare_tables import said, terminal
from host.report.rows import NOT_A_SPEED
from tests.host.fakes import campaign, model, phone, run_of, write_results

THREADS = [1, 2, 4]
PLAN = Plan(
    models=[model("[b]$m")], threads=THREADS, tests=[Test(n_prompt=64, n_gen=0)], protocol=Protocol(repetitions=3)
)
FAST, SLOW = (10.0, 10.1, 9.9), (9.0, 9.1, 8.9)


@pytest.fixture
def compared(tmp_path: Path) -> Compared:
    """Slower with one thread, one repetition with two, failed with four; over adb and ssh."""
    rates: dict[str, list[Sequence[float]]] = {"a": [FAST, FAST, FAST], "b": [SLOW, (9.0,), ()]}
    for way in ("adb", "ssh"):
        known = campaign(PLAN, phone(emulated=True), way)
        for name, came in rates.items():
            runs = [
                run_of(known, *pair, None if pair[1] else "killed") for pair in zip(PLAN.cells(), came, strict=True)
            ]
            write_results(tmp_path / name / way, known, runs)
    return load(tmp_path / "a", tmp_path / "b", 0.05)


def test_a_table_for_each_way(compared: Compared) -> None:
    tables = list(terminal(compared))
    assert [table.title for table in tables] == [f"Google Pixel 8 (zuma), over {way}" for way in ("adb", "ssh")]
    assert {table.caption for table in tables} == {NOT_A_SPEED}
    console = Console(width=200, markup=False)
    with console.capture() as shown:
        console.print(tables[0])
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.get().splitlines() if "pp64" in line]
    assert lines == [
        ["[b]$m", "pp64", "1", "10.0", "9.00", "0.900", "0.879 to 0.922", "slower, a regression", ""],
        [
            "[b]$m",
            "pp64",
            "2",
            "10.0",
            "9.00",
            "0.900",
            "-",
            "not significant",
            "B: one repetition says nothing of how it varies",
        ],
    ]


def test_what_the_tables_do_not_show(compared: Compared) -> None:
    assert said(compared) == [
        "only in A: [b]$m pp64, 4 threads, Google Pixel 8 over adb: failed: killed",
        "only in A: [b]$m pp64, 4 threads, Google Pixel 8 over ssh: failed: killed",
        "2 of 4 cells slower by more than 5 %",
    ]


def test_what_chance_does_to_many_cells_is_said(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"threads": list(range(1, 41))})
    known = campaign(plan, phone())
    folder = write_results(tmp_path / "a", known, [run_of(known, cell, FAST) for cell in plan.cells()])
    same = load(folder, folder, 0.025)
    assert said(same) == [
        "of 40 cells about 2 are called different by chance",
        "0 of 40 cells slower by more than 2.5 %",
    ]


def test_the_end_of_a_long_name_is_shown(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"models": [model(f"{'long-' * 30}{end}") for end in ("plain", "smooth")]})
    known = campaign(plan, phone())
    folder = write_results(tmp_path / "a", known, [run_of(known, cell, FAST) for cell in plan.cells()])
    console = Console(width=120)
    with console.capture() as shown:
        console.print(*terminal(load(folder, folder, 0.05)))
    assert "…" not in shown.get()
    assert "smooth" in shown.get()
