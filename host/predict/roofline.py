"""Tokens/s to expect of a model on a SoC: a roofline, with an interval, and the ceiling that no result can pass.

Decode reads all weights and the KV cache for each token, so it is bound by the DRAM's bandwidth; prefill reads them
once for hundreds of tokens, and is bound by what the cores multiply (Williams, Waterman, Patterson: Roofline, 2009).
The ceiling is the peak itself. What is expected below it is the share that llama.cpp was seen to reach, efficiency.py.

It holds for a cool phone with as many threads as are best there, a prompt of some hundred tokens, weights in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothdroid.device.info.socs import Soc
from smoothdroid.host.predict.efficiency import Efficiency, Fitted
from smoothdroid.host.predict.work import Work

Answer = Literal["as predicted", "faster than predicted", "slower than predicted", "above the ceiling"]


@dataclass(frozen=True)
class Expected:
    """Tokens/s."""

    middle: float
    low: float
    high: float
    """At most the ceiling."""
    ceiling: float


@dataclass(frozen=True)
class Prediction:
    """Of a model on a SoC."""

    soc: Soc
    decode: Expected | None
    """None where the caches may hold what a token reads: then DRAM is no bound."""
    prefill: Expected | None
    """None where the SoC's cores, or the model's matrices, are not known."""


@dataclass(frozen=True)
class Against:
    """A measured speed beside what was expected of it."""

    expected: Expected
    ratio: float
    """Measured over the middle of what was expected."""
    of_ceiling: float
    """Measured over the ceiling."""
    answer: Answer


def predict(work: Work, soc: Soc, fitted: Fitted, *, depth: int = 0) -> Prediction:
    """What to expect; decode after `depth` tokens in the KV cache, prefill into an empty one."""
    ceiling = soc.decode_ceiling(work.decode_bytes(depth))
    peak = soc.operations_per_s(work.kind)
    return Prediction(
        soc,
        _expected(ceiling, fitted.decode),
        _expected(peak / work.operations if peak and work.operations else None, fitted.prefill),
    )


def against(tokens_per_s: float, expected: Expected) -> Against:
    """Where a measured speed lies: in the interval, outside, or where nothing can lie."""
    answer: Answer = "as predicted"
    if tokens_per_s > expected.ceiling:
        answer = "above the ceiling"
    elif tokens_per_s > expected.high:
        answer = "faster than predicted"
    elif tokens_per_s < expected.low:
        answer = "slower than predicted"
    return Against(expected, tokens_per_s / expected.middle, tokens_per_s / expected.ceiling, answer)


def _expected(ceiling: float | None, share: Efficiency) -> Expected | None:
    if ceiling is None:
        return None
    return Expected(ceiling * share.middle, ceiling * share.low, ceiling * share.high, ceiling)
