"""The ratio of the means of paired values, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from smoothdroid.host.results.statistics import CONFIDENCE, Interval


def ratio(over: Sequence[float], under: Sequence[float]) -> Interval:
    """Return mean(over) / mean(under) of pairs, with Fieller's interval (E. C. Fieller, J. R. Stat. Soc. B 16, 1954).

    It is the set of ratios r for which a paired t test does not distinguish mean(over - r * under) from 0. So it
    contains 1 exactly when that test finds no difference, and pairs that rise and fall together narrow it. Where the
    sign of mean(under) is uncertain, it is -inf to inf; a single pair has no interval (NaN). Raises ValueError when
    there is no pair, or mean(under) is 0.
    """
    if not over or len(over) != len(under):
        raise ValueError(f"not pairs: {len(over)} and {len(under)} values")
    n = len(over)
    a, b = float(np.mean(over)), float(np.mean(under))
    if b == 0:
        raise ValueError("the mean of the denominators is 0")
    if n == 1:
        return Interval(a / b, math.nan, math.nan, 1)
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    covariance = t**2 * np.cov(over, under) / n
    # The roots of (a - r b)^2 = t^2 var(over - r under) / n, as r^2 p - 2 r q + s = 0.
    p = float(b**2 - covariance[1, 1])
    q = float(a * b - covariance[0, 1])
    s = float(a**2 - covariance[0, 0])
    if p <= 0:
        return Interval(a / b, -math.inf, math.inf, n)
    root = math.sqrt(max(0.0, q**2 - p * s))  # negative only by rounding
    return Interval(a / b, (q - root) / p, (q + root) / p, n)
