from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.faults import PAGE, TRANSPORTS, faults, page_with, table

LEAST_ROWS = 60

SOURCE = """
import pytest

@pytest.mark.fault("b | <b>", transport="adb", outcome="one")
@pytest.mark.parametrize("x", [1])
def test_one(x): ...

@pytest.mark.parametrize("x", [
    pytest.param(1, marks=pytest.mark.fault("it breaks " "off", transport="any", outcome="two")),
    2,
])
def test_two(x): ...

CASES = [pytest.param(1, marks=pytest.mark.fault("named", transport="ssh", outcome="four"))]

@pytest.mark.parametrize("x", CASES)
def test_four(x): ...

class TestMore:
    @pytest.mark.fault("a", transport="adb", outcome="three")
    def test_three(self): ...
"""


def written(folder: Path, source: str) -> Path:
    tests = folder / "tests"
    tests.mkdir()
    (tests / "test_x.py").write_text(source, encoding="utf-8")
    return tests


def test_markers_are_read_and_sorted_by_transport_and_fault(tmp_path: Path) -> None:
    found = faults(written(tmp_path, SOURCE))
    assert [(one.what, one.transport, one.test) for one in found] == [
        ("a", "adb", "test_three"),
        ("b | <b>", "adb", "test_one"),
        ("named", "ssh", "test_four"),
        ("it breaks off", "any", "test_two"),
    ]
    assert table(found).splitlines()[-3] == "| b \\| &lt;b> | adb | one | `test_one` |"


@pytest.mark.parametrize(
    "marker",
    [
        'fault("a", transport="cable", outcome="b")',
        'fault("a", transport="adb")',
        'fault("a" + name, transport="adb", outcome="b")',
        'fault("a", transport="adb", outcome="b", more=1)',
        'fault(1, transport="adb", outcome="b")',
    ],
)
def test_a_wrong_marker_is_named_with_its_place(tmp_path: Path, marker: str) -> None:
    with pytest.raises(ValueError, match=r"test_x\.py, line 2: write @pytest\.mark\.fault"):
        faults(written(tmp_path, f"\n@pytest.mark.{marker}\ndef test_x(): ..."))


def test_the_page_has_todays_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page_with(text, faults()), "python -m tests.docs.faults --write"


def test_every_transport_has_rows_and_there_are_enough() -> None:
    found = faults()
    assert {fault.transport for fault in found} <= set(TRANSPORTS)
    assert len(found) >= LEAST_ROWS
