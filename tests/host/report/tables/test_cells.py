from __future__ import annotations

import re
from pathlib import Path

import pytest

from smoothdroid.host.common import console
from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.rows import EvaluatedCampaign
from smoothdroid.host.report.render import markdown as render
from smoothdroid.host.report.sections.registry import SECTIONS
from smoothdroid.host.report.sections.report import build_report
from smoothdroid.host.report.tables.cells import terminal
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import campaign, model, phone, run_of, runs_of, write_results
from tests.host.report.whole import PLAN as WHOLE
from tests.host.report.whole import load_campaigns, prompt_answered, write_whole

PLAN = Plan(
    models=[model("plain"), model("a|b [/x] :100:")],
    threads=[1, 2],
    tests=[Test(n_prompt=16, n_gen=0)],
    protocol=Protocol(repetitions=2, rounds=3),
)


@pytest.fixture
def section(tmp_path: Path) -> EvaluatedCampaign:
    known = campaign(PLAN, phone(emulated=True))
    one, odd, two, _ = PLAN.cells()
    runs = [
        *runs_of(known, one, [8.9, 9.1, 9.0]),
        run_of(known, odd, failure="it said: a | b\n| c [/bold] \\| d"),
        run_of(known, two, [0.00412]),
    ]
    (section,) = load_campaigns([write_results(tmp_path, known, runs)])
    return section


def markdown(campaigns: list[EvaluatedCampaign]) -> str:
    """Return the sections on cells and on the method, as a report's Markdown has them."""
    shown = [entry for entry in SECTIONS if entry.id in ("cells", "method")]
    return render.markdown(build_report(ReportData(campaigns, [], []), shown, ()), ())


def cells(line: str) -> list[str]:
    """The cells of a line of a GitHub table: a bar divides them unless an odd number of backslashes is before it."""
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", line)
    assert (parts[0], parts[-1]) == ("", "")
    return [part.strip() for part in parts[1:-1]]


def test_markdown_has_as_many_cells_in_every_line(section: EvaluatedCampaign) -> None:
    text = markdown([section]).partition("## How it was measured")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(section.rows)
    assert {len(cells(line)) for line in lines} == {9}


def test_markdown_shows_every_cell(section: EvaluatedCampaign) -> None:
    text = markdown([section])
    assert "**Google Pixel 8 (zuma), over adb (emulated: not the speed of a phone): 4 cells**" in text
    assert "| started | 2026-01-02 " in text
    assert "Android 16, kernel 6.1.99" in text
    assert "1×Cortex-X3 2.91 GHz + 4×Cortex-A715" in text
    assert "| llama.cpp | 0c1e57098, build 01234567" in text
    assert "| plain | pp16 | 1 | 9.00 | 8.75 to 9.25 | 3 | 6 | valid |  |" in text
    assert "| plain | pp16 | 2 | (0.00412) | - | 1 | 1 | collapsed, unstable | 0.00412 tokens/s with 2" in text
    assert "one process: its repetitions do not show how much the next one differs, so there is no interval" in text
    assert "one process: measure with --rounds 5" in text.splitlines()
    assert "| - | - | - | - | - | failed: it said: a" in text
    assert "not measured yet" in text


def test_a_cell_of_one_process_is_valid_and_has_no_interval(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    (section,) = load_campaigns(
        [write_results(tmp_path, known, [run_of(known, next(PLAN.cells()), [9.9, 10.0, 10.1])])]
    )
    assert "| plain | pp16 | 1 | 10.0 | - | 1 | 3 | valid | one process: its repetitions do not show" in markdown(
        [section]
    )


def test_the_first_token_has_its_interval_beside_it(tmp_path: Path) -> None:
    answered = write_results(tmp_path / "three", *prompt_answered(0.49, 0.5, 0.51))
    assert "| 0.500 (0.475 to 0.525) |" in markdown(load_campaigns([answered]))
    alone = write_results(tmp_path / "one", *prompt_answered(0.5))
    assert "| 0.500 |" in markdown(load_campaigns([alone]))


def test_energy_has_its_interval_beside_it_and_an_emulated_phone_has_none(tmp_path: Path) -> None:
    (real,) = load_campaigns([write_whole(tmp_path / "real", campaign(WHOLE, phone()))])
    assert "| J/token |" in markdown([real])
    # 2 W at 10, 10.1 and 9.9 tokens/s.
    assert "| 0.200 (0.195 to 0.205) |" in markdown([real])
    (emulated,) = load_campaigns([write_whole(tmp_path / "emulated", campaign(WHOLE, phone(emulated=True)))])
    assert any(row.valid for row in emulated.rows)
    with console.out.capture() as shown:
        console.out.print(terminal(emulated), width=200)
    for text in (markdown([emulated]), shown.get()):
        assert "J/token" not in text
        assert "on battery" not in text


def test_a_real_phone_has_no_caveat(tmp_path: Path) -> None:
    (section,) = load_campaigns([write_results(tmp_path, campaign(PLAN, phone(android="")), [])])
    assert "mulated" not in markdown([section])
    assert "kernel 6.1.99" in markdown([section])
    assert terminal(section).caption is None


def test_terminal_shows_names_and_failures_as_they_are(section: EvaluatedCampaign) -> None:
    """Nothing that a phone or a file's name says is markup."""
    with console.out.capture() as shown:
        console.out.print(terminal(section), width=200)
    text = shown.get()
    for part in ("a|b [/x] :100:", "[/bold]", "not measured yet", "8.75 to 9.25", "0.00412", "emulated: not the speed"):
        assert part in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234.5, "1234"),
        (123.4, "123"),
        (99.96, "100"),
        (12.34, "12.3"),
        (9.999, "10.0"),
        (1.2345, "1.23"),
        (0.5, "0.500"),
        (0.00412, "0.00412"),
        (-3.21, "-3.21"),
        (0.0, "0.00"),
    ],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown
