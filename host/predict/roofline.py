"""The roofline: tokens/s to expect of a model on a SoC, with an interval and the ceiling that no result can exceed.

Decode reads all weights and the KV cache for each token, so it is bound by the DRAM's bandwidth; prefill reads them
once for hundreds of tokens, and is bound by the cores' arithmetic (Williams, Waterman, Patterson: Roofline, 2009). The
ceiling is the peak itself; the expected speed is the share of it that llama.cpp usually reaches (efficiency.py).

A prediction holds for a cool phone with its best number of threads, a prompt of some hundred tokens, and weights that
are in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothdroid.device.info.socs import Soc
from smoothdroid.host.predict.efficiency import Efficiency, Fitted
from smoothdroid.host.predict.work import Work

Verdict = Literal["as predicted", "faster than predicted", "slower than predicted", "above the ceiling"]


@dataclass(frozen=True)
class Expected:
    """The tokens/s to expect."""

    middle: float
    low: float
    high: float
    """At most the ceiling."""
    ceiling: float


@dataclass(frozen=True)
class Prediction:
    """The speeds to expect of a model on a SoC."""

    soc: Soc
    decode: Expected | None
    """None where the caches may hold what a token reads: DRAM is then no bound."""
    prefill: Expected | None
    """None where the SoC's cores or the model's matrices are unknown."""


@dataclass(frozen=True)
class Against:
    """A measured speed compared with its prediction."""

    expected: Expected
    ratio: float
    """Measured speed over the middle of the prediction."""
    of_ceiling: float
    """Measured speed over the ceiling."""
    verdict: Verdict


def predict(work: Work, soc: Soc, fitted: Fitted, *, depth: int = 0) -> Prediction:
    """Predict decode after `depth` tokens in the KV cache, and prefill into an empty one."""
    ceiling = soc.decode_ceiling(work.decode_bytes(depth))
    peak = soc.operations_per_s(work.kind)
    return Prediction(
        soc,
        _expected(ceiling, fitted.decode),
        _expected(peak / work.operations if peak and work.operations else None, fitted.prefill),
    )


def against(tokens_per_s: float, expected: Expected) -> Against:
    """Compare a measured speed with the interval and the ceiling of its prediction."""
    verdict: Verdict = "as predicted"
    if tokens_per_s > expected.ceiling:
        verdict = "above the ceiling"
    elif tokens_per_s > expected.high:
        verdict = "faster than predicted"
    elif tokens_per_s < expected.low:
        verdict = "slower than predicted"
    return Against(expected, tokens_per_s / expected.middle, tokens_per_s / expected.ceiling, verdict)


def _expected(ceiling: float | None, share: Efficiency) -> Expected | None:
    if ceiling is None:
        return None
    return Expected(ceiling * share.middle, ceiling * share.low, ceiling * share.high, ceiling)
