"""What repetitions say: intervals, outliers, drift, and whether two sets of them differ.

All of it takes repetitions to be independent. Those of one run share its minute: what differs between two evenings
on the same phone (a background job, the battery's charge, the room) is in no interval here.

scipy is imported where it is called: it takes a second, which a command that measures nothing need not wait.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000  # of the bootstrap: its ends are then steady to about a twentieth of the interval
SEED = 0  # the same values give the same interval

BOOTSTRAP_FROM = 5
"""Repetitions from which a median has an interval: resampling cannot show what was never drawn. Measured on normal
noise, an interval that calls itself 95 % holds the true median in 49 % of draws of two values, 74 % of three, 87 % of
four, and 88 to 95 % from five on (odd counts jump: a median is one of its values)."""

OUTLIER_SIGMAS = 5.0
"""How far from the median a repetition is an outlier. The textbook's 3.5 (Iglewicz and Hoaglin, 1993) marks one in
13 to 21 % of clean sets of five to ten; this one in 4 to 11 %. Outliers are named, never dropped."""

SIGMA_PER_MAD = 1.4826  # of normal noise

Logarithms = np.ndarray[Any, np.dtype[np.float64]]
Answer = Literal["faster", "slower", "not significant"]


@dataclass(frozen=True)
class Interval:
    """A mean (or what else a function here says) and the interval that holds the true one with confidence CONFIDENCE.

    `low` and `high` are NaN where the values cannot tell.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Drift:
    """A straight line through the repetitions in their order."""

    change: float
    """From the first repetition to the last, as a share of their mean: -0.1 lost a tenth."""
    p_value: float
    """Of so steep a line, or steeper, where nothing drifts; NaN below three repetitions."""

    @property
    def significant(self) -> bool:
        """Whether chance alone rarely gives such a line."""
        return self.p_value < 1 - CONFIDENCE  # NaN is not


@dataclass(frozen=True)
class Comparison:
    """A set of repetitions against another."""

    ratio: Interval
    """After over before; `n` is the size of the smaller set."""

    @property
    def answer(self) -> Answer:
        """What the interval allows to say; where there is none, nothing."""
        if self.ratio.low > 1:
            return "faster"
        return "slower" if self.ratio.high < 1 else "not significant"


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of `values`; one value alone has no interval, and `low`, `high` are NaN.

    Not a bootstrap: of a mean it is too narrow for every number of repetitions that a phone has time for (with two it
    holds the true mean in 49 % of draws, with ten in 87 %), where this one keeps its 95 % from two values on. It pays
    with width: two values 1 % apart have an interval of 6 % to either side. Raises ValueError when there is no value.
    """
    from scipy import stats

    if not values:
        raise ValueError("no values")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Interval(mean, mean - half, mean + half, len(values))


def median_interval(values: Sequence[float]) -> Interval:
    """The median in `mean`'s place, with a percentile bootstrap: what a repetition disturbed by another job leaves be.

    Below BOOTSTRAP_FROM values there is no interval (NaN). Raises ValueError when there is no value.
    """
    from scipy import stats

    if not values:
        raise ValueError("no values")
    median = float(np.median(values))
    if len(values) < BOOTSTRAP_FROM:
        return Interval(median, math.nan, math.nan, len(values))
    found = stats.bootstrap(
        (values,),
        np.median,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(median, float(found.low), float(found.high), len(values))


def outliers(values: Sequence[float]) -> list[int]:
    """Which of `values` (counted from 0) lie more than OUTLIER_SIGMAS from the median, by the median deviation.

    None among fewer than BOOTSTRAP_FROM values: with three, two that happen to agree make an outlier of the third.
    """
    if len(values) < BOOTSTRAP_FROM:
        return []
    distances = np.abs(np.asarray(values) - np.median(values))
    far = distances > OUTLIER_SIGMAS * SIGMA_PER_MAD * np.median(distances)
    return [int(index) for index in np.flatnonzero(far)]


def drift(values: Sequence[float]) -> Drift:
    """Whether `values` rise or fall in their order. Raises ValueError when there is none.

    A line and not a rank test: no order of four values has a rank test's p below 0.08, and a phone that throttles in
    its fourth repetition is to be noticed.
    """
    from scipy import stats

    if not values:
        raise ValueError("no values")
    if len(values) < 3:
        return Drift((values[-1] - values[0]) / float(np.mean(values)), math.nan)
    line = stats.linregress(range(len(values)), values)
    return Drift(float(line.slope) * (len(values) - 1) / float(np.mean(values)), float(line.pvalue))


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """The ratio of two independent sets of rates, each above 0: of their geometric means, by Welch's t on logarithms.

    Logarithms, because half as fast and twice as fast are as far apart; geometric and arithmetic mean of a cell
    differ by half its squared spread (3 % of noise: 0.05 %). With 3 % of noise, ten repetitions each find 5 % in 94
    of 100 draws, five in 61, three in 26; all find a difference that is not there in no more than 5. A set of one
    value tells nothing: `low` and `high` are NaN. Raises ValueError when a set is empty or holds what is no rate.
    """
    if not before or not after or not all(0 < rate < math.inf for rate in (*before, *after)):
        raise ValueError("no rates to compare")
    old, new = np.log(before), np.log(after)
    middle = float(new.mean() - old.mean())
    n = min(len(old), len(new))
    half = _welch_half(old, new) if n > 1 else math.nan
    with np.errstate(over="ignore"):  # two values far apart: the interval ends at infinity
        low, ratio, high = (float(end) for end in np.exp([middle - half, middle, middle + half]))
    return Comparison(Interval(ratio, low, high, n))


def _welch_half(one: Logarithms, other: Logarithms) -> float:
    """Half the interval of the difference of two means; where nothing spreads, 0 (scipy's own is NaN there)."""
    from scipy import stats

    a, b = (float(values.var(ddof=1)) / len(values) for values in (one, other))
    if a + b == 0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / (len(one) - 1) + b**2 / (len(other) - 1))
    return math.sqrt(a + b) * float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
