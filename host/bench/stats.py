"""Intervals over repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds the true mean with the confidence CONFIDENCE."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of `values`; one value alone has no interval, and `low`, `high` are NaN.

    Raises ValueError when there is no value.
    """
    if not values:
        raise ValueError("no values")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Interval(mean, mean - half, mean + half, len(values))
