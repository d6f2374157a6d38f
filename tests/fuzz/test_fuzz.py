from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.mutate import CHANGES, mutated
from tests.fuzz.targets import FUZZED

ROOT = Path(__file__).parents[2]


def test_there_are_ten_thousand_mutations() -> None:
    assert sum(fuzzed.mutations for fuzzed in FUZZED.values()) >= 10_000


@pytest.mark.fault(
    "any damage to a journal, samples, a record, a phone's description, a plan or a GGUF header: 10,000 of them",
    transport="any",
    outcome="a right value or an error in words, in bounded time and memory",
)
@pytest.mark.parametrize("kind", FUZZED)
def test_a_damaged_input_gives_a_right_value_or_an_error_in_words(kind: str) -> None:
    """In a process of its own: its memory and CPU time are limited."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", kind], cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace"
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"


def test_equal_seeds_damage_alike_and_every_change_changes_something() -> None:
    content = b"one 12\ntwo 3\nthree 4\n"
    first, second = ([mutated(content, [content], random.Random(seed)) for seed in range(50)] for _ in range(2))  # noqa: S311
    assert first == second
    for change in CHANGES:
        assert any(change(content, random.Random(seed), [content]) != content for seed in range(50))  # noqa: S311
