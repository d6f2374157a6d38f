from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.journal import Journal, Waited

SUM = "ab" * 32
WHOLE = f"""\
runner 12 boot-1 1795400000 .
waited one 1 301 thermal_zone0 26000 .
begin one 1 1795400003 .
end one 1 7 exited 351 2 {SUM} .
begin two 1 1795400010 .
runner 99 boot-1 1795400090 .
waited two 2 0 - - .
begin two 2 1795400091 .
end two 2 137 timeout 201 0 {SUM} .
finished .
"""


def test_tells_what_ended_and_how() -> None:
    journal = Journal()
    one, two = journal.read(WHOLE)
    assert (one.cell, one.attempt, one.exit_status, one.how, one.wall_s, one.runner_cpu_s, one.sha256) == (
        *("one", 1, 7, "exited", 3.51, 0.02),
        SUM,
    )
    assert one.began_at == datetime(2026, 11, 23, 2, 13, 23, tzinfo=timezone.utc)
    assert one.waited == Waited(seconds=3.01, too_hot="thermal_zone0")
    assert (two.cell, two.attempt, two.exit_status, two.how) == ("two", 2, 137, "timeout")
    assert two.waited == Waited(seconds=0.0)
    assert (journal.lines, journal.torn, journal.runners, journal.finished) == (10, 0, 2, True)


@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_read_in_pieces_it_is_the_same(first: int, second: int) -> None:
    journal = Journal()
    ended, read = [], 0
    for size in sorted((first, second, len(WHOLE))):
        ended += journal.read("".join(WHOLE[:size].splitlines(keepends=True)[read:]))
        read = journal.lines
    assert ended == Journal().read(WHOLE)
    assert journal.finished


@given(st.integers(0, len(WHOLE) - 1))
def test_cut_at_any_byte_and_taken_up_nothing_false_is_read(size: int) -> None:
    """The runner that follows gives a cut line its end."""
    cut = WHOLE[:size] + ("" if WHOLE[:size].endswith("\n") or not size else "\n")
    journal = Journal()
    ended = journal.read(cut)
    assert ended == Journal().read(WHOLE)[: len(ended)]
    assert journal.finished == (size == len(WHOLE) - 1)
    assert journal.torn <= 1


@pytest.mark.parametrize(
    "line",
    [
        "end three 1 0 exited 1 0 - .",
        f"end one 1 7 exited 351 2 {SUM} .",
        "end one 2 x exited 1 0 - .",
        "begin one 3 999999999999999999999 .",
        "reboot .",
        " .",
        "\0 .",
    ],
)
def test_what_no_runner_writes_is_an_error(line: str) -> None:
    journal = Journal()
    journal.read(WHOLE)
    with pytest.raises(ValueError, match="journal"):
        journal.read(line + "\n")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert Journal().read(text) == []
