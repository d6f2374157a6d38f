from __future__ import annotations

import pytest

from smoothdroid.host.report.sections.section import NOT_MEASURED, cell_or_missing, number_cell


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
    assert (number_cell(text).text, number_cell(text).value) == (text, value)


def test_a_missing_cell_says_so() -> None:
    assert cell_or_missing(None, "a note").text == NOT_MEASURED
    assert cell_or_missing(None, "a note").note == ""
    assert cell_or_missing("1", "a note", 1.0).value == 1.0
