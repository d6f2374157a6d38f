from __future__ import annotations

import sys
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.device.job.journal import Journal, Waited

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
    assert one.began_at == datetime(2026, 11, 23, 2, 13, 23, tzinfo=UTC)
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


def signed(*events: str, job: str = "job") -> str:
    """Lines as the runner writes them."""
    sums = (sha256(f"{job} {event}\n".encode()).hexdigest()[:16] for event in events)
    return "".join(f"{event} #{its_sum} .\n" for event, its_sum in zip(events, sums, strict=True))


EVENTS = [
    "runner 12 boot-1 1795400000",
    "waited one 1 301 thermal_zone0 26000",
    "begin one 1 1795400003 waited",
    f"end one 1 7 exited 351 2 {SUM}",
    "begin two 1 1795400010 -",
    "runner 99 boot-1 1795400090",
    "waited two 2 0 - -",
    "begin two 2 1795400091 waited",
    f"end two 2 137 timeout 201 0 {SUM}",
    "begin three 1 1795400100 -",
    f"end three 1 0 exited 100 0 {SUM}",
    "finished",
]
SIGNED = signed(*EVENTS)


def lines_of(cell: str) -> list[int]:
    return [number for number, event in enumerate(EVENTS) if event.split()[1:2] == [cell]]


def test_lines_with_sums_say_the_same() -> None:
    journal = Journal("job")
    old = Journal().read(WHOLE)
    assert journal.read(SIGNED)[:2] == old
    assert (journal.finished, journal.damage, journal.torn, journal.lines) == (True, [], 0, len(EVENTS))


@pytest.mark.fault(
    "one flipped bit in a job's journal",
    transport="any",
    outcome="every other cell is collected with its values, and the one whose line it hit is measured again",
)
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_at_any_place_loses_the_cell_of_its_line_and_changes_no_value(bit: int) -> None:
    right = {ended.cell: ended for ended in Journal("job").read(SIGNED)}
    whole = SIGNED.encode()
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
        journal = Journal("job")
        read = {ended.cell: ended for ended in journal.read(damaged.decode("utf-8", "replace"))}
        line = whole[:place].count(b"\n")
        assert read.items() <= right.items()
        assert set(read) >= {cell for cell in right if line not in lines_of(cell)}, damaged
        assert journal.damage or read == right, damaged


@pytest.mark.fault(
    "zeros in a job's journal after a power loss",
    transport="any",
    outcome="what is written before and after them counts, and what they replaced is measured again",
)
@given(st.integers(0, len(SIGNED)), st.integers(1, 300), st.booleans())
def test_zeros_anywhere_lose_what_they_replaced(start: int, count: int, replace: bool) -> None:
    journal = Journal("job")
    end = min(start + count, len(SIGNED)) if replace else start
    read = journal.read(SIGNED[:start] + "\0" * count + SIGNED[end:])
    right = {ended.cell: ended for ended in Journal("job").read(SIGNED)}
    assert {ended.cell: ended for ended in read}.items() <= right.items()
    hit = range(SIGNED[:start].count("\n"), SIGNED[:end].count("\n") + 1)
    assert {ended.cell for ended in read} >= {cell for cell in right if not {*lines_of(cell)} & {*hit}}


@pytest.mark.fault("foreign lines in a job's journal", transport="any", outcome="they are reported once and left out")
@pytest.mark.parametrize(
    "foreign",
    [
        "reboot .\n",
        "hello\n",
        " .\n",
        "\0 .\n",
        "\N{REPLACEMENT CHARACTER}" * 3 + "\n",
        f"end three 1 0 exited 1 0 {SUM} .\n",
        f"begin four 1 1795400003 -\nend four 1 0 exited 1 0 {SUM} .\n",
        signed("begin four 1 1795400003 -", f"end four 1 0 exited 1 0 {SUM}", job="another"),
        "end four 1 0 exited 1 0 - #0123456789abcdef .\n",
        signed(f"end four 1 0 exited 1 0 {SUM}"),
        signed("begin four 1 1795400003 waited", f"end four 1 0 exited 1 0 {SUM}"),
        signed("begin ../four 1 1795400003 -", f"end ../four 1 0 exited 1 0 {SUM}"),
        signed("begin four 1 " + "9" * 400 + " -"),
        "x" * 100_000 + "\n",
    ],
)
@pytest.mark.parametrize("after", [1, 5, len(EVENTS)])
def test_a_foreign_line_is_told_and_left_out(foreign: str, after: int) -> None:
    lines = SIGNED.splitlines(keepends=True)
    journal = Journal("job")
    assert journal.read("".join(lines[:after]) + foreign + "".join(lines[after:])) == Journal("job").read(SIGNED)
    assert len(journal.damage) == 1
    assert len(journal.damage[0]) < 500


@pytest.mark.fault("a line of a job's journal that stands there twice", transport="any", outcome="it counts once")
@pytest.mark.parametrize("again", range(len(EVENTS)))
def test_what_stands_there_twice_counts_once(again: int) -> None:
    lines = SIGNED.splitlines(keepends=True)
    journal = Journal("job")
    assert journal.read("".join(lines[: again + 1] + lines[again:])) == Journal("job").read(SIGNED)
    ends = EVENTS[again].startswith("end")
    assert [damage.partition(":")[0] for damage in journal.damage] == (
        [f"{EVENTS[again].split()[1]} ends twice the same"] if ends else []
    )


def test_a_cell_that_ends_twice_in_another_way_counts_once() -> None:
    journal = Journal("job")
    more = signed("begin one 2 1795400200 -", f"end one 2 0 exited 1 0 {SUM}")
    assert journal.read(SIGNED + more) == Journal("job").read(SIGNED)
    assert "one ends twice, each time in another way" in journal.damage[0]


def test_the_runners_word_that_it_found_no_journal_is_told() -> None:
    journal = Journal("job")
    assert journal.read(signed("runner 1 boot 1", "lost")) == []
    assert "was empty or gone" in journal.damage[0]


@given(st.text())
def test_any_text_is_read_and_says_nothing(text: str) -> None:
    journal = Journal("job")
    assert journal.read(text + "\n") == []
    assert journal.finished in (False, any(line == "finished ." for line in text.split("\n")))


def test_reading_takes_as_long_as_the_journal_and_no_longer() -> None:
    """Counted in steps of the interpreter, not in seconds."""

    def steps(cells: int) -> int:
        events = [e for n in range(cells) for e in (f"begin {n} 1 1 -", f"end {n} 1 0 exited 1 0 {SUM}")]
        text, count = signed(*events), 0

        def count_it(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += 1

        journal = Journal("job")
        sys.setprofile(count_it)
        try:
            for line in text.splitlines(keepends=True):
                journal.read(line)
        finally:
            sys.setprofile(None)
        assert len(journal.ended) == cells
        return count

    assert steps(400) < 2.2 * steps(200)
