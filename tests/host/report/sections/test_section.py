from __future__ import annotations

import pytest

from smoothdroid.host.report.sections.section import NOTHING, cell, figure


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9.50", 9.5),
        ("(9.50)", 9.5),
        ("0.00373 ± 0.00031", 0.00373),
        ("-0.163 to 13.3", -0.163),
        ("-", None),
        ("", None),
    ],
)
def test_a_figure_is_sorted_by_the_number_that_it_begins_with(text: str, value: float | None) -> None:
    assert (figure(text).text, figure(text).value) == (text, value)


def test_an_empty_cell_says_so() -> None:
    assert cell(None, "a note").text == NOTHING
    assert cell(None, "a note").note == ""
    assert cell("1", "a note", 1.0).value == 1.0
