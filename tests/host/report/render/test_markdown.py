from __future__ import annotations

import re
from pathlib import Path

import pytest

from smoothdroid.host.model.evaluate.record import write_evaluation
from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.plots.registry import PLOTS
from smoothdroid.host.report.render.files import CELLS, FIGURES, PAGE, SUMMARY, write
from smoothdroid.host.results.cell import Test
from smoothdroid.host.results.record import write_campaign
from tests.host.fakes import campaign, model, phone, run_of, runs_of, write_results
from tests.host.report.whole import MODELS, PLAN, SCRIPT, evaluation, write_whole

ONE_CELL = PLAN.model_copy(update={"models": MODELS[:1], "threads": [1], "tests": PLAN.tests[1:2], "masks": [()]})


@pytest.fixture(scope="module")
def folder(inputs: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / FIGURES).mkdir()
    for plot in PLOTS:
        (folder / FIGURES / f"{plot.stem}-99.png").touch()
    (folder / FIGURES / "mine.png").touch()
    assert write(inputs, folder) == [folder / name for name in (PAGE, SUMMARY, CELLS, FIGURES)]
    return folder


def test_tables_have_as_many_cells_in_every_line(folder: Path) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", (folder / SUMMARY).read_text(), re.MULTILINE):
        lines = block.splitlines()
        assert len({len(re.split(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) == 1, lines[:3]


def test_what_is_hostile_is_text(folder: Path) -> None:
    text = re.sub(r"^```sh\n.*?\n```$", "", (folder / SUMMARY).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert SCRIPT not in text
    assert set(re.findall(r"(?<!\\)<(/?\w+)", text)) <= {
        "br",
        "sub",
        "/sub",
        "details",
        "/details",
        "summary",
        "/summary",
    }


def test_every_picture_that_it_shows_is_there(folder: Path) -> None:
    shown = re.findall(r"(?<!\\)!\[.*\]\((figures/[\w.-]+)\)", (folder / SUMMARY).read_text())
    assert len(shown) > 5
    assert all((folder / name).is_file() for name in shown)


def test_a_command_of_several_lines_keeps_them(tmp_path: Path) -> None:
    test = Test(prompt="one\n```\ntwo", n_gen=4)
    write_campaign(tmp_path / "r", campaign(PLAN.model_copy(update={"tests": [test]}), phone()))
    write(load([tmp_path / "r"]), tmp_path)
    assert "--ask 'one\n```\ntwo' --cpus" in (tmp_path / SUMMARY).read_text()
    assert "````sh\nsmoothdroid bench" in (tmp_path / SUMMARY).read_text()
    assert "--ask &#39;one\n```\ntwo&#39; --cpus" in (tmp_path / PAGE).read_text()


def test_evaluations_alone_make_a_report(tmp_path: Path) -> None:
    write_evaluation(evaluation(MODELS), tmp_path / "quality")
    write(load([tmp_path / "quality"]), tmp_path)
    text = (tmp_path / SUMMARY).read_text()
    assert "No speed was measured" in text
    assert "quality-size-1.png" in text
    assert (tmp_path / CELLS).read_text().count("\n") == 1


def test_an_emulated_phone_has_no_energy_anywhere(tmp_path: Path) -> None:
    write_whole(tmp_path / "r", campaign(PLAN, phone(emulated=True)))
    write(load([tmp_path / "r"]), tmp_path)
    for name in (PAGE, SUMMARY):
        text = (tmp_path / name).read_text()
        assert "Joules per token" not in text
        assert "J/token: not measured" in text


def test_the_verdict_says_how_sure_it_is(tmp_path: Path) -> None:
    known, (cell,) = campaign(ONE_CELL, phone()), ONE_CELL.cells()
    for name, runs in (
        ("one", [run_of(known, cell, [9.9, 10.0, 10.1])]),
        ("three", runs_of(known, cell, [10, 10, 10])),
    ):
        write_results(tmp_path / name, known, runs)
        write(load([tmp_path / name]), tmp_path / f"{name}-report")
    one, three = ((tmp_path / f"{name}-report" / SUMMARY).read_text() for name in ("one", "three"))
    assert "fastest decode 10.0 tokens/s, one process, no interval: " in one
    assert "luckiest" not in one, "without an interval there is nothing to account for"
    assert "fastest decode 10.0 tokens/s, 95% interval 10.0 to 10.0: " in three
    assert "3 processes" in three
    assert "nan" not in (tmp_path / "one-report" / PAGE).read_text().lower()


def test_a_font_that_is_missing_is_named(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"models": [model("\U0001e900")], "masks": [()], "tests": PLAN.tests[:1]})
    write_whole(tmp_path / "r", campaign(plan, phone()))
    write(load([tmp_path / "r"]), tmp_path)
    named = "This machine has no font for some characters of these names (searched: DejaVu Sans"
    assert named in (tmp_path / PAGE).read_text()
    assert named in (tmp_path / SUMMARY).read_text()


def test_the_best_settings_come_first(folder: Path) -> None:
    heads = re.findall(r"^## (.*)", (folder / SUMMARY).read_text(), re.MULTILINE)
    assert heads[:2] == ["Best settings", "Cells without a valid result"]
    assert heads[-2:] == ["All cells", "How it was measured"]


def test_figures_of_an_earlier_report_are_gone_and_other_files_stay(folder: Path) -> None:
    names = {path.name for path in (folder / FIGURES).iterdir()}
    assert not [name for name in names if name.endswith("-99.png")]
    assert "mine.png" in names
    assert {Path(name).stem for name in names - {"mine.png"} if name.endswith("png")} == {
        Path(name).stem for name in names if name.endswith("svg")
    }
