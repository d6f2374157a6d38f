from __future__ import annotations

import pytest

from host import console


def test_what_a_table_shows_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["what"], [["pip install 'smoothdroid[model]' [bold]x[/bold]"]])
    assert "pip install 'smoothdroid[model]' [bold]x[/bold]" in capsys.readouterr().out


HOSTILE = "Pixel\x1b[2J\x1b]0;owned\x07\x9b8m 안녕\n"


def test_no_control_character_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["phone"], [[HOSTILE]])
    console.step(HOSTILE)
    console.error(HOSTILE)
    console.stream(HOSTILE)
    printed = capsys.readouterr()
    for text in printed:
        assert "안녕" in text
        assert not any(control in text for control in ("\x1b", "\x07", "\x9b"))
