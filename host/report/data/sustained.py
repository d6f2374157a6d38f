"""Sustained tests: tokens/s over time, repetition after repetition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

from smoothdroid.host.results.judged_cells import Judged
from smoothdroid.host.results.statistics import Interval

MINUTE_S = 60.0


@dataclass(frozen=True)
class SustainedRates:
    """The repetitions of a sustained cell, one after the other."""

    ends_s: list[float]
    """The end of each repetition, in seconds from the start of the first; unmeasured pauses are left out."""
    tokens_per_s: list[float]

    @property
    def whole(self) -> Interval:
        """The total tokens divided by the total time, without an interval: one process, in which the phone warms up."""
        times = [end - start for start, end in zip([0.0, *self.ends_s], self.ends_s, strict=False)]
        tokens = sum(rate * time for rate, time in zip(self.tokens_per_s, times, strict=True))
        return Interval(tokens / sum(times), math.nan, math.nan, 1)

    @property
    def first(self) -> float:
        """Tokens/s of the first minute."""
        return self._mean(0.0, MINUTE_S)

    @property
    def last(self) -> float:
        """Tokens/s of the last minute."""
        return self._mean(self.ends_s[-1] - MINUTE_S, self.ends_s[-1])

    def _mean(self, begin: float, end: float) -> float:
        tokens = time = 0.0
        for start, stop, rate in zip([0.0, *self.ends_s], self.ends_s, self.tokens_per_s, strict=False):
            inside = max(0.0, min(stop, end) - max(start, begin))
            tokens, time = tokens + rate * inside, time + inside
        return tokens / time

    def __str__(self) -> str:
        """Return first and last minute, and the duration, as text."""
        share = self.last / self.first
        return (
            f"first minute {self.first:.3g}, last {self.last:.3g} tokens/s ({share:.0%}), over {self.ends_s[-1]:.0f} s"
        )


def sustained_rates(judged: Judged) -> SustainedRates:
    """Return the rates of a measured sustained cell. Raises ValueError where llama-bench did not measure it."""
    bench = judged.runs[0].bench
    if bench is None:
        raise ValueError("a sustained cell is measured by llama-bench")
    return SustainedRates([total / 1e9 for total in accumulate(bench.samples_ns)], bench.samples_ts)
