"""Tests of reading command output between marks."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smoothdroid.device.transport.marked_output import MOST_NOISE, Between, MarkedLine

MARK = b"0123456789abcdef"


def fed(stream: bytes, cuts: list[int]) -> tuple[bytes, int | None]:
    """Return what is between the marks of a stream that arrives in pieces, and the exit status."""
    between, places = Between(MARK), [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    content = b"".join(between.add(stream[start:end]) for start, end in pairwise(places))
    return content + between.rest(), between.status


PART = st.sampled_from([MARK, MARK[:5], MARK + b"=", MARK + b"=1", b"0", b"=", b"\n", b"\0\xff", b"text"])
CUTS = st.lists(st.integers(min_value=0))


@settings(max_examples=200)
@given(st.lists(PART).map(b"".join), st.lists(PART).map(b"".join), st.binary(), CUTS)
def test_what_stands_between_the_marks_is_taken_however_it_arrives(
    before: bytes, content: bytes, after: bytes, cuts: list[int]
) -> None:
    """A mark is random, so nobody but the marked shell writes it whole."""
    stream = before + MARK + b"\n" + content + MARK + b"=7\n" + after
    assume(MARK + b"=" not in content and stream.find(MARK + b"\n") == len(before))
    assert fed(stream, cuts) == (content, 7)


@settings(max_examples=200)
@given(st.lists(PART).map(b"".join), CUTS)
def test_without_a_second_mark_all_is_the_commands(content: bytes, cuts: list[int]) -> None:
    assume(re.search(MARK + rb"=\d{1,3}\n", content) is None)
    assert fed(MARK + b"\n" + content, cuts) == (content, None)


def test_what_comes_before_is_bounded_and_shown() -> None:
    between = Between(MARK)
    assert between.add(b"welcome ") == b""
    assert (between.begun, between.noise, between.too_noisy) == (False, b"welcome ", False)
    while not between.too_noisy:
        assert between.add(b"x" * 65536) == b""
    assert len(between.noise) == 200
    assert MOST_NOISE < 2 << 20


@pytest.mark.parametrize("script", ["exit 3", "printf a; printf b >&2; exit 3", "kill -9 $$", "echo $(exit 4); false"])
def test_a_marked_line_does_what_the_line_does(script: str) -> None:
    plain = subprocess.run(["sh", "-c", f"sh -c '{script}'; exit $?"], capture_output=True, check=False)
    line = MarkedLine(f"sh -c '{script}'")
    marked = subprocess.run(["sh", "-c", line.command], capture_output=True, check=False)
    assert line.stdout.add(marked.stdout) == plain.stdout
    assert line.stderr.add(marked.stderr).startswith(plain.stderr[:1])
    assert line.complete
    assert line.stdout.status == marked.returncode == plain.returncode
