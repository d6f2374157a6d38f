from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.host.llamacpp.tool_output import NoNumber
from smoothdroid.host.model.evaluate.perplexity_output import (
    running_perplexity,
    tokens_of_short_text,
    windows_done,
    windows_planned,
)

# What llama-perplexity of llama.cpp 0c1e57098 printed on a workstation: see SOURCES.md there.
DATA = Path(__file__).parents[3] / "data" / "perplexity"


def output(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def test_a_finished_run() -> None:
    assert running_perplexity(output("saved.stdout.txt")) == (2, 8.1451)
    assert windows_planned(output("saved.stderr.txt")) == 2
    assert windows_done(output("saved.stdout.txt")) == 2
    assert tokens_of_short_text(output("saved.stderr.txt")) is None


def test_a_text_too_short() -> None:
    log = output("text-too-short.stderr.txt")
    assert tokens_of_short_text(log) == 1
    assert windows_planned(log) is None


def test_an_end_that_was_lost() -> None:
    assert running_perplexity(output("saved.stdout.txt").partition("[2]")[0]) == (1, 4.4003)


@pytest.mark.parametrize("name", ["text-too-short.stderr.txt", "no-model.stderr.txt", "saved.stderr.txt"])
def test_no_perplexity_is_an_error(name: str) -> None:
    with pytest.raises(NoNumber, match="reported no perplexity; its output ends: "):
        running_perplexity(output(name))


def test_silence_is_an_error() -> None:
    with pytest.raises(NoNumber, match=r"\(empty\)$"):
        running_perplexity("")


@pytest.mark.parametrize("word", ["nan", "inf", "-nan", "0.9999", "-3.0000"])
def test_what_is_no_perplexity_is_an_error(word: str) -> None:
    with pytest.raises(NoNumber, match=f"reports the perplexity {word}$"):
        running_perplexity(output("saved.stdout.txt").replace("8.1451", word))


def test_windows_are_counted_as_they_come() -> None:
    assert [windows_done(log) for log in ("", "0.13 minutes\n", "[1]4.40", "[1]4.4003,", "[1]nan,[2]inf,[3]8")] == [
        *(0, 0, 0, 1, 2)
    ]
