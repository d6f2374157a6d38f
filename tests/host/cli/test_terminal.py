"""What a person sees on a terminal, and what a script gets: through a real pseudo terminal, and through pipes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host import terminal
from tests.host.fakes import campaign, phone, run_of, write_results
from tests.host.test_cli import PLAN

SMOOTHDROID = Path(sys.executable).with_name("smoothdroid")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ANY_ESCAPE = "\x1b"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Measured on an emulated phone."""
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    measured = campaign(PLAN, phone(emulated=True))
    return write_results(tmp_path / "results", measured, [run_of(measured, c, [1.0, 2.0]) for c in PLAN.cells()])


def shown(*arguments: object, columns: int = 100, **environment: str) -> str:
    """All that a terminal so wide gets."""
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    command = [SMOOTHDROID, *arguments]
    return terminal.shown(command, columns=columns, environment={**known, "TERM": "xterm-256color", **environment})[0]


def piped(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(SMOOTHDROID), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "TERM": "xterm-256color", **environment}, capture_output=True, text=True, check=True
    )


def test_colours_on_a_terminal_unless_no_color_is_set() -> None:
    for arguments in (["--help"], ["phone", "--help"], ["doctor", "--for", "inspect"]):
        styled, plain = shown(*arguments), shown(*arguments, NO_COLOR="1")
        assert any(re.search(r"[349]\d", code) for code in COLOUR.findall(styled)), arguments
        assert not any(re.search(r"[349]\d", code) for code in COLOUR.findall(plain)), arguments
        assert len(plain.split()) > 10


def test_no_escape_in_a_pipe(results: Path, tmp_path: Path) -> None:
    for arguments in (["--help"], ["doctor"], ["report", results, "-o", tmp_path / "report"], ["report", "--help"]):
        done = piped(*arguments)
        assert ANY_ESCAPE not in done.stdout + done.stderr, arguments


@pytest.mark.parametrize("how", [["-q"], ["--quiet"], []])
def test_quiet_leaves_out_steps_and_progress_and_nothing_else(results: Path, tmp_path: Path, how: list[str]) -> None:
    sql = "SELECT count(*) AS n FROM cells"
    environment = {} if how else {"SMOOTHDROID_QUIET": "1"}
    loud = piped("query", sql, results, "--json")
    assert "evaluating campaigns" in loud.stderr
    assert "emulated" in loud.stderr
    quiet = piped(*how, "query", sql, results, "--json", "--again", **environment)
    assert json.loads(quiet.stdout) == json.loads(loud.stdout) == [{"n": 2}]
    assert "evaluating" not in quiet.stderr
    assert "emulated" in quiet.stderr, "a warning"
    with (results / "runs.jsonl").open("a") as record:
        record.write("nonsense\n")
    reported = piped(*how, "report", results, "-o", tmp_path / "report", **environment)
    assert "line 3 is damaged" in reported.stderr
    assert all(line.startswith("! ") for line in reported.stderr.splitlines())


def test_quiet_on_a_terminal_draws_no_progress(results: Path) -> None:
    sql = "SELECT count(*) AS n FROM cells"
    assert "evaluating" in shown("query", sql, results)
    assert "evaluating" not in shown("-q", "query", sql, results, "--again")


def test_quiet_leaves_errors(tmp_path: Path) -> None:
    done = subprocess.run(
        [SMOOTHDROID, "-q", "report", tmp_path / "nosuch"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("columns", [80, 160])
def test_a_table_fits_the_terminal_and_is_not_cut(columns: int, tmp_path: Path) -> None:
    cache = tmp_path / ("a-long-name-" * 8)
    text = COLOUR.sub("", shown("doctor", "--for", "inspect", columns=columns, SMOOTHDROID_CACHE=str(cache)))
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    assert cache.name in "".join(text.split())


def test_a_table_of_many_columns_becomes_blocks_where_it_does_not_fit() -> None:
    wide, narrow = (shown("devices", "--on", "local:", columns=columns) for columns in (160, 60))
    for text in (wide, narrow):
        assert {"target", "local:", "memory", "battery"} <= set(COLOUR.sub("", text).split()), text
    assert re.search(r"target +phone +SoC", COLOUR.sub("", wide))
    assert re.search(r"^target +local:\s*$", COLOUR.sub("", narrow), re.MULTILINE)


@pytest.mark.parametrize("columns", [80, 110, 120, 160])
def test_a_report_leaves_nothing_out_however_narrow_the_terminal(columns: int, tmp_path: Path) -> None:
    results = shutil.copytree(Path(__file__).parents[2] / "data/results/schema-1", tmp_path / "results")
    text = COLOUR.sub("", shown("-q", "report", results, "-o", tmp_path / "report", columns=columns))
    text = "\n".join(line for line in text.splitlines() if str(tmp_path) not in line)  # paths are for copying: whole
    assert max(map(len, text.splitlines())) <= columns
    for said in (
        "the repetitions of the process lost 8% from first to last; one process: its",
        "so there is no interval",
        "this phone does not expose its frequency caps, frequencies, temperatures, trip points, swapped memory,",
        "page faults;",
    ):
        assert set(said.split()) <= set(text.split())
    assert bool(re.search(r"^model +SmolLM2-135M-Instruct-plain-q8_0\s*$", text, re.MULTILINE)) == (columns < 160)


def test_on_windows_it_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.platform = 'win32'; import smoothdroid.host.cli"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["smoothdroid runs on Linux, so on Windows in WSL: `wsl --install`"]
