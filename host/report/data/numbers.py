"""Numbers as text: significant digits, intervals, errors, MiB."""

from __future__ import annotations

import math

from smoothdroid.host.results.statistics import Interval


def number(value: float) -> str:
    """Return three significant digits, or all digits before the point where there are more; no exponent."""
    exponent = int(f"{value:.2e}".partition("e")[2])  # of the rounded value: 9.999 is 10.0
    return f"{value:.{max(0, 2 - exponent)}f}"


def span(known: Interval | None) -> str:
    """Return `9.8 to 10.2`; `-` where there is no interval, as with one process."""
    return f"{number(known.low)} to {number(known.high)}" if known and math.isfinite(known.low) else "-"


def certainty(known: Interval) -> str:
    """Return `9.8 to 10.2`, or the reason why there is no interval."""
    return span(known) if known.n > 1 else "one process, no interval"


def mean(known: Interval | None) -> str:
    """Return the mean, `-` where there is none."""
    return number(known.mean) if known else "-"


def with_interval(known: Interval | None) -> str:
    """Return `10.0 (9.8 to 10.2)`, without the brackets where there is no interval."""
    return mean(known) + (f" ({span(known)})" if span(known) != "-" else "")


def with_error(known: Interval, factor: float = 1) -> str:
    """Return a mean and half of its interval as `0.00379 ± 0.00018`: the error with two digits."""
    value, error = factor * known.mean, factor * known.half
    if not 0 < error < math.inf:
        return f"{number(value)} ± {error:g}"
    places = max(0, 1 - int(f"{error:.1e}".partition("e")[2]))
    return f"{value:.{places}f} ± {error:.{places}f}"


def mebibytes(value: float | None) -> str | None:
    """Return MiB without decimals from 10 on, with two digits below; None where there is no value."""
    return None if value is None else f"{value:.0f}" if value >= 10 else f"{value:.2g}"
