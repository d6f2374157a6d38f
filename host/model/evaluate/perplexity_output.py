"""What llama-perplexity says -> numbers. A number that is not there is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress

from smoothdroid.host.llamacpp.tool_output import NoNumber

MOST_RUNS = 3

_WINDOW = re.compile(r"\[(\d+)\](-?(?:\d+\.\d+|nan|inf)),")


class NothingTold(NoNumber):
    """Not even the first window's perplexity: of a run of milliseconds, all that was told can be lost."""


def perplexity_of(run: Callable[[], str]) -> tuple[int, float]:
    """`running_perplexity` of the log that `run` returns; it is run again when that tells nothing."""
    for _ in range(MOST_RUNS - 1):
        with suppress(NothingTold):  # it was over in no time, and so is another one
            return running_perplexity(run())
    return running_perplexity(run())


def running_perplexity(log: str) -> tuple[int, float]:
    """(windows, the perplexity over them): the last that it told of, in its `[1]4.4003,[2]8.1451,`.

    Not its `Final estimate`: llama.cpp logs from a thread that it does not wait for (common/log.cpp says so), and on a
    busy machine the last lines are lost. Raises NothingTold when there is none, NoNumber when what it tells is no
    perplexity (`nan`; one below 1 cannot be).
    """
    found = _WINDOW.findall(log)
    if not found:
        raise NothingTold(f"llama-perplexity told no perplexity; its last words: {log.strip()[-300:] or 'none'}")
    windows, perplexity = found[-1]
    if not 1 <= float(perplexity) < math.inf:
        raise NoNumber(f"llama-perplexity reports the perplexity {perplexity}")
    return int(windows), float(perplexity)


def windows_planned(log: str) -> int | None:
    """How many windows it is going to read, once it has said so: as many as it was asked for, or as the text holds."""
    planned = re.search(r"calculating perplexity over (\d+) chunks", log)
    return int(planned[1]) if planned else None


def windows_done(log: str) -> int:
    """How many windows it has read so far, from its `[1]4.4003,[2]8.1451,`."""
    return len(_WINDOW.findall(log))


def tokens_of_short_text(log: str) -> int | None:
    """The tokens in a text that it refused, or None when it did not: it says so, and ends with status 0."""
    told = re.search(r"the data file you provided tokenizes to only (\d+) tokens", log)
    return int(told[1]) if told else None
