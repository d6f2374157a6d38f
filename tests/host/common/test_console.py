from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from rich.table import Table
from rich.text import Text

from smoothdroid.host.common import console
from tests.host.terminal import shown


def test_what_a_table_shows_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["what"], [["pip install 'smoothdroid[model]' [bold]x[/bold]"]])
    assert "pip install 'smoothdroid[model]' [bold]x[/bold]" in capsys.readouterr().out


HOSTILE = "Pixel\x1b[2J\x1b]0;owned\x07\x9b8m \u202e\u2066\u200f\u061c\udcff\U000e0041\r 안녕\n"
ACTING = ("\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u200f", "\u061c", "\udcff", "\U000e0041", "\r")


@pytest.mark.fault(
    "a phone, model or file whose name holds escape sequences or bidirectional control characters",
    transport="any",
    outcome="they are shown as replacement characters, in all output to the terminal",
)
def test_no_control_character_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["phone"], [[HOSTILE]])
    console.table("", list("abcde"), [[HOSTILE.rstrip() + "x" * 60] * 5])  # too wide: as blocks
    console.step(HOSTILE)
    console.error(HOSTILE)
    console.warning(HOSTILE)
    console.stream(HOSTILE)
    console.out.print(HOSTILE)
    console.out.print(Text(HOSTILE), style="bold")
    console.table(HOSTILE, [HOSTILE], [[Text(HOSTILE)]])
    captioned = Table(title=HOSTILE, caption=HOSTILE)
    captioned.add_column(HOSTILE)
    console.show(captioned)
    console.facts({HOSTILE: [HOSTILE]})
    with console.bar() as bar, console.transfers() as transfers:
        bar.update(HOSTILE, 1, 2)
        transfers.sending(HOSTILE, HOSTILE, 1, 1)
    printed = capsys.readouterr()
    for text in printed:
        assert "안녕" in text
        assert not any(control in text for control in ACTING)
    console.facts([HOSTILE])
    assert json.loads(capsys.readouterr().out) == [HOSTILE], "a program reads what there was"


def python(code: str) -> tuple[str, bytes]:
    """Run Python code whose stderr is a terminal and whose stdout is not; return what both get."""
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    return shown([sys.executable, "-c", code], columns=100, environment=environment, stdout=subprocess.PIPE)


HOSTILE_ON_A_TERMINAL = """
from smoothdroid.host.common import console
hostile = "Pixel\\x9b8m\\x07\\u202e\\u2066 phone"
with console.live_table([hostile, "b"], lambda: [[hostile, hostile]]):
    pass
with console.bar() as bar:
    bar.update(hostile, 1, 2)
with console.transfers() as transfers:
    transfers.sending(hostile, hostile, 1, 2)
"""


def test_no_control_character_reaches_a_live_table_or_a_progress_line() -> None:
    printed, _ = python(HOSTILE_ON_A_TERMINAL)
    assert printed.count("\ufffd8m\ufffd\ufffd\ufffd phone") >= 3
    assert not any(control in printed for control in ("\x9b", "\x07", "\u202e", "\u2066"))


ON_A_TERMINAL = """
import sys
from smoothdroid.host.common import console
with console.bar() as bar:
    bar.update("measuring", 1, 2)
    console.step("what began")
    console.stream("the answer")
"""


def test_with_a_progress_line_stdout_is_stdout_and_a_step_is_one_line() -> None:
    """stderr is a terminal, stdout is not: `smoothdroid run ... > answer.txt` at a desk."""
    printed, answer = python(ON_A_TERMINAL)
    assert answer == b"the answer"
    assert "measuring" in printed, "there was a progress line"
    assert re.search("· (?:\x1b\\[0m)?what began", printed)
