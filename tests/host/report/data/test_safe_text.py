from __future__ import annotations

import pytest

from smoothdroid.host.report.data.safe_text import csv_cell, line, markdown, short
from tests.host.report.whole import HOSTILE


def test_what_acts_is_replaced() -> None:
    assert line("a\x1b[31m\u202eb\nc\td") == "a\ufffd[31m\ufffdb c d"


def test_names_are_cut_in_the_middle() -> None:
    assert short("SmolLM2-135M-Instruct-plain-q8_0", 13) == "SmolLM…n-q8_0"
    assert len(short("x" * 100, 14)) == 14
    assert short("short", 13) == "short"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<script>", r"\<script\>"),
        ("[x](y)", r"\[x\](y)"),
        ("`$x^$`", r"\`\$x^\$\`"),
        ("q8_0", "q8_0"),
        ("_x_", r"\_x\_"),
        ("@someone", "@\u200bsomeone"),
        ("https://x.y www.x.y", "http\u200bs://x.y www\u200b.x.y"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_is_no_markup(text: str, shown: str) -> None:
    assert markdown(text) == shown


def test_a_hostile_name_in_markdown() -> None:
    shown = markdown(HOSTILE)
    assert "<script" not in shown.replace(r"\<", "")
    assert "\n" not in shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_a_spreadsheet_computes_nothing(text: str) -> None:
    assert csv_cell(text).startswith("'")


def test_other_cells_stay_as_they_are() -> None:
    assert csv_cell("q8_0") == "q8_0"
