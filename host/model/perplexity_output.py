"""What llama-perplexity says -> numbers. A number that is not there is an error."""

from __future__ import annotations

import math
import re

from device.parse import NoNumber


def final_perplexity(log: str) -> float:
    """The perplexity over all windows, from the line `Final estimate: PPL = 8.1451 +/- 0.91396`.

    The line need not begin where the log's does: standard output writes in between. Raises NoNumber when it is
    missing or what it tells is no perplexity (`nan`; one below 1 cannot be).
    """
    found = re.findall(r"Final estimate: PPL = (\S+) \+/- \S+", log)
    if not found:
        raise NoNumber(f"llama-perplexity printed no final estimate; its last words: {log.strip()[-300:] or 'none'}")
    try:
        perplexity = float(found[-1])
    except ValueError:
        perplexity = math.nan
    if not 1 <= perplexity < math.inf:
        raise NoNumber(f"llama-perplexity reports the perplexity {found[-1]}")
    return perplexity


def windows_planned(log: str) -> int | None:
    """How many windows it is going to read, once it has said so: as many as it was asked for, or as the text holds."""
    planned = re.search(r"calculating perplexity over (\d+) chunks", log)
    return int(planned[1]) if planned else None


def windows_done(log: str) -> int:
    """How many windows it has read so far, from its `[1]4.4003,[2]8.1451,`."""
    return len(re.findall(r"\[\d+\]-?(?:[\d.]+|nan|inf),", log))


def tokens_of_short_text(log: str) -> int | None:
    """The tokens in a text that it refused, or None when it did not: it says so, and ends with status 0."""
    told = re.search(r"the data file you provided tokenizes to only (\d+) tokens", log)
    return int(told[1]) if told else None
