from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from host import console


def test_what_a_table_shows_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["what"], [["pip install 'smoothdroid[model]' [bold]x[/bold]"]])
    assert "pip install 'smoothdroid[model]' [bold]x[/bold]" in capsys.readouterr().out


HOSTILE = "Pixel\x1b[2J\x1b]0;owned\x07\x9b8m 안녕\n"


def test_no_control_character_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["phone"], [[HOSTILE]])
    console.table("", list("abcde"), [[HOSTILE.rstrip() + "x" * 60] * 5])  # too wide: as blocks
    console.step(HOSTILE)
    console.error(HOSTILE)
    console.stream(HOSTILE)
    printed = capsys.readouterr()
    for text in printed:
        assert "안녕" in text
        assert not any(control in text for control in ("\x1b", "\x07", "\x9b"))


ON_A_TERMINAL = """
import sys
from host import console
with console.bar() as bar:
    bar.update("measuring", 1, 2)
    console.step("what began")
    console.stream("the answer")
"""


def test_with_a_progress_line_stdout_is_stdout_and_a_step_is_one_line() -> None:
    """stderr is a terminal, stdout is not: `smoothdroid run ... > answer.txt` at a desk."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", closefd=True) as terminal:
        done = subprocess.run(
            [sys.executable, "-c", ON_A_TERMINAL],
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(theirs)
        shown = terminal.read1(1 << 16).decode()
    assert done.stdout == b"the answer"
    assert "measuring" in shown, "there was a progress line"
    assert re.search("· (?:\x1b\\[0m)?what began", shown)
