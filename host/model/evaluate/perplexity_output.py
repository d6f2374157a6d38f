"""Parse the output of llama-perplexity. A number that is absent is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress

from smoothdroid.host.llamacpp.tool_output import NoNumber

MOST_RUNS = 3

_WINDOW = re.compile(r"\[(\d+)\](-?(?:\d+\.\d+|nan|inf)),")


class NoPerplexity(NoNumber):
    """The output lacks even the first window's perplexity, as that of a run of milliseconds may."""


def perplexity_of(run: Callable[[], str]) -> tuple[int, float]:
    """Return the `running_perplexity` of the log that `run` returns, and run it again when the log has none."""
    for _ in range(MOST_RUNS - 1):
        with suppress(NoPerplexity):  # it took next to no time, and so does another run
            return running_perplexity(run())
    return running_perplexity(run())


def running_perplexity(log: str) -> tuple[int, float]:
    """Return (windows, the perplexity over them): the last in its `[1]4.4003,[2]8.1451,`.

    Not its `Final estimate`: llama.cpp logs from a thread that it does not wait for (common/log.cpp says so), and on a
    busy machine the last lines are lost. Raises NoPerplexity when there is none, NoNumber when it is no
    perplexity (`nan`; one below 1 cannot be).
    """
    reported = _WINDOW.findall(log)
    if not reported:
        raise NoPerplexity(
            f"llama-perplexity reported no perplexity; its output ends: {log.strip()[-300:] or '(empty)'}"
        )
    windows, perplexity = reported[-1]
    if not 1 <= float(perplexity) < math.inf:
        raise NoNumber(f"llama-perplexity reports the perplexity {perplexity}")
    return int(windows), float(perplexity)


def windows_planned(log: str) -> int | None:
    """Return the number of windows it will read, once it reports it: as requested, or as many as the text holds."""
    planned = re.search(r"calculating perplexity over (\d+) chunks", log)
    return int(planned[1]) if planned else None


def windows_done(log: str) -> int:
    """Return the number of windows it has read so far, from its `[1]4.4003,[2]8.1451,`."""
    return len(_WINDOW.findall(log))


def tokens_of_short_text(log: str) -> int | None:
    """Return the number of tokens in a text that it refused, else None. It ends with status 0 even then."""
    refused = re.search(r"the data file you provided tokenizes to only (\d+) tokens", log)
    return int(refused[1]) if refused else None
