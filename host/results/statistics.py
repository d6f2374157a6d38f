"""Statistics over the processes of a cell: intervals, comparisons, the best of several, drift and steps.

The process is the unit of replication (A. Georges et al., "Statistically rigorous Java performance evaluation", OOPSLA
2007; T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013; pyperf): memory layout, placement
of threads and the phone's state differ from one process to the next and stay the same within one. The repetitions of a
process are therefore averaged first, and every function here that takes `means` takes one value for each process.

`python -m benchmarks.coverage` measures how often the intervals hold the true value and how often the comparisons are
wrong. scipy is imported where it is called: a command that measures nothing need not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

CONFIDENCE = 0.95

Array = np.ndarray[Any, np.dtype[np.float64]]
Answer = Literal["faster", "slower", "not significant"]


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that holds the true value with probability CONFIDENCE.

    `low` and `high` are NaN where one process, or one pair, is all there is: it shows nothing of how the next differs.
    """

    mean: float
    low: float
    high: float
    n: int
    """Number of independent values: processes of a cell, rounds of a paired comparison."""

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Comparison:
    """The ratio of two rates, and how surely it is not 1."""

    ratio: Interval
    """After over before."""
    p_value: float
    """Two-sided, for a ratio of 1; NaN where there are too few processes to tell."""

    def answer(self, p_value: float) -> Answer:
        """Return the direction of a difference whose (adjusted) p-value is `p_value`."""
        if not p_value < 1 - CONFIDENCE:  # NaN is not significant
            return "not significant"
        return "faster" if self.ratio.mean > 1 else "slower"


@dataclass(frozen=True)
class Winner:
    """The fastest of several settings, with the selection accounted for."""

    index: int
    rate: Interval
    """The winner's rate; low and high hold the true rate of whichever setting wins."""
    alike: list[int]
    """The other settings that are not significantly slower, fastest first."""


@dataclass(frozen=True)
class Change:
    """A drift over the repetitions of a process, or a step between two of them."""

    share: float
    """Last minus first (drift) or after minus before (step), over the mean: -0.1 lost a tenth."""
    p_value: float
    after: int = 0
    """Repetitions before the step; 0 for a drift."""
    process: int | None = None
    """The process that the change is in; None: it is in all of them."""


def interval(means: Sequence[float]) -> Interval:
    """Compute Student's t interval of the mean over processes.

    With n processes the half-width is t(0.975, n - 1) standard errors: two processes 1 % apart give 6 % to either side,
    five give 1.2 %. Raises ValueError when there is no value.
    """
    if not means:
        raise ValueError("no values")
    values = np.asarray(means, dtype=np.float64)
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = _standard_error(values) * _quantile((1 + CONFIDENCE) / 2, n - 1)
    return Interval(mean, mean - half, mean + half, n)


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Compare the process means of two independent cells by Welch's t test on logarithms.

    Logarithms, because half as fast and twice as fast are as far apart. The ratio is that of the geometric means. A
    cell of one process gives no interval and no p-value (NaN). Raises ValueError when a cell is empty or holds no rate.
    """
    old, new = _logarithms(before), _logarithms(after)
    middle = float(new.mean() - old.mean())
    n = min(len(old), len(new))
    if n < 2:
        return Comparison(Interval(math.exp(middle), math.nan, math.nan, n), math.nan)
    a, b = (float(values.var(ddof=1)) / len(values) for values in (old, new))
    error = math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (len(old) - 1) + b**2 / (len(new) - 1)) if error else math.inf
    return _comparison(middle, error, freedom, n)


def compare_paired(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Compare process means that were measured in the same rounds, `before[i]` beside `after[i]`.

    What a round does to both (a warm phone, a job in the background) cancels out. Student's t on the logarithms of the
    ratios; one pair gives no interval. Raises ValueError when there is no pair or a value is no rate.
    """
    if len(before) != len(after):
        raise ValueError(f"no pairs: {len(before)} and {len(after)} values")
    ratios = _logarithms(after) - _logarithms(before)
    n = len(ratios)
    middle = float(ratios.mean())
    if n < 2:
        return Comparison(Interval(math.exp(middle), math.nan, math.nan, n), math.nan)
    return _comparison(middle, float(ratios.std(ddof=1)) / math.sqrt(n), n - 1, n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).

    Among any number of cells that did not change, the probability that any of their adjusted values falls below 0.05 is
    at most 5 %. NaN stays NaN and does not count.
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = highest
    return adjusted


def fastest(settings: Sequence[Sequence[float]]) -> Winner:
    """Find the fastest of k settings from the process means of each, and those that are as good.

    The winner of equal settings is the luckiest one, so its mean is too high. Its interval therefore reaches down to
    Student's t at 1 - 0.025/k; the upper end needs no correction (Y. Benjamini, Y. Hechtlinger, P. Stark, "Confidence
    intervals for selected parameters", 2019). A setting is slower than the winner when a one-sided Welch test says so
    at 0.05/(k - 1): with probability 95 % the truly fastest one is the winner or among `alike` (J. Hsu, "Multiple
    comparisons with the best", 1996). Raises ValueError when there is no setting, or one without values.
    """
    k = len(settings)
    means = [interval(values) for values in settings]
    index = max(range(k), key=lambda i: means[i].mean)
    rate = means[index]
    if rate.n > 1:
        error = _standard_error(np.asarray(settings[index], dtype=np.float64))
        low = rate.mean - error * _quantile(1 - (1 - CONFIDENCE) / 2 / k, rate.n - 1)
        rate = Interval(rate.mean, low, rate.high, rate.n)
    others = sorted((i for i in range(k) if i != index), key=lambda i: -means[i].mean)
    level = (1 - CONFIDENCE) / max(1, k - 1)
    # One-sided: the other is slower by its rank, so half of the two-sided value.
    alike = [i for i in others if not compare(settings[index], settings[i]).p_value / 2 < level]
    return Winner(index, rate, alike)


def drift(rounds: Sequence[Sequence[float]]) -> Change | None:
    """Fit one slope to the repetitions of all processes, each around its own mean.

    Returns None where no process has a repetition beyond what the fit uses up: a line through two values says nothing.
    """
    pairs = [_centred(values) for values in rounds if len(values) > 1]
    if not pairs:
        return None
    at, rates = (np.concatenate(column) for column in zip(*pairs, strict=True))
    freedom = len(at) - len(pairs) - 1
    if freedom < 1:
        return None
    slope = float(at @ rates / (at @ at))
    rest = float(((rates - slope * at) ** 2).sum())
    length = max(len(values) for values in rounds) - 1
    error = math.sqrt(rest / freedom / float(at @ at))
    return Change(slope * length, _two_sided(slope, error, freedom))


def step(rounds: Sequence[Sequence[float]]) -> Change | None:
    """Find the most significant step between two repetitions of one process.

    Each process is split at each place, and the two parts are compared by Student's t with the noise of both parts and
    of the other processes. The p-value is multiplied by the number of places (Bonferroni). Returns None where there is
    no place at which noise is known.
    """
    shares = [np.asarray(values, dtype=np.float64) / float(np.mean(values)) for values in rounds]
    squares = [float(((one - one.mean()) ** 2).sum()) for one in shares]
    found: list[Change] = []
    for number, mine in enumerate(shares):
        noise = sum(squares) - squares[number]
        freedom = sum(map(len, shares)) - len(shares) - 1
        if freedom > 0:
            found += _steps(mine, number, noise, freedom)
    if not found:
        return None
    likeliest = min(found, key=lambda change: change.p_value)
    return replace(likeliest, p_value=min(1.0, likeliest.p_value * len(found)))


def _steps(mine: Array, number: int, noise: float, freedom: int) -> Iterator[Change]:
    """Yield the step at each place of a process; `noise` is the sum of squares of the other processes."""
    size = len(mine)
    before = np.arange(1, size)
    sums = np.cumsum(mine)[:-1]
    share = (mine.sum() - sums) / (size - before) - sums / before
    # The sum of squares around two means is that around one less what the step explains.
    weight = before * (size - before) / size
    inside = np.maximum(noise + ((mine - mine.mean()) ** 2).sum() - share**2 * weight, 0.0)
    inside[inside < 1e-24] = 0.0  # only rounding is left
    errors = np.sqrt(inside / freedom / weight)
    for after, change, error in zip(before.tolist(), share.tolist(), errors.tolist(), strict=True):
        yield Change(change, _two_sided(change, error, freedom), after, number)


def _centred(values: Sequence[float]) -> tuple[Array, Array]:
    """Return the places and the rates of one process, both around their mean, rates as shares of it."""
    at = np.arange(len(values), dtype=np.float64)
    rates = np.asarray(values, dtype=np.float64) / float(np.mean(values))
    return at - at.mean(), rates - 1


def _logarithms(rates: Sequence[float]) -> Array:
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise ValueError("no rates to compare")
    return np.log(np.asarray(rates, dtype=np.float64))


def _comparison(middle: float, error: float, freedom: float, n: int) -> Comparison:
    """Build a comparison from a difference of logarithms, its standard error and its degrees of freedom."""
    if error == 0:  # no spread at all
        return Comparison(Interval(math.exp(middle), math.exp(middle), math.exp(middle), n), float(middle == 0))
    half = error * _quantile((1 + CONFIDENCE) / 2, freedom)
    with np.errstate(over="ignore"):  # values far apart: the interval ends at infinity
        low, ratio, high = (float(end) for end in np.exp([middle - half, middle, middle + half]))
    return Comparison(Interval(ratio, low, high, n), _two_sided(middle, error, freedom))


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t."""
    from scipy import special

    return float(special.stdtrit(freedom, probability))


def _two_sided(estimate: float, error: float, freedom: float) -> float:
    """Return the two-sided p-value of an estimate that is 0 in truth; without any error, 1 for 0 and else 0."""
    from scipy import special

    return float(2 * special.stdtr(freedom, -abs(estimate) / error)) if error else float(estimate == 0)
