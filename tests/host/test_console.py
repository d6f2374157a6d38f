from __future__ import annotations

import pytest

from host import console


def test_what_a_table_shows_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["what"], [["pip install 'smoothdroid[model]' [bold]x[/bold]"]])
    assert "pip install 'smoothdroid[model]' [bold]x[/bold]" in capsys.readouterr().out
