from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from host.bench.stats import CONFIDENCE, Comparison, compare, drift, interval, median_interval, outliers

NOISE = 0.03
REPETITIONS = 10
DRAWS = 2000


def noisy(random: np.random.Generator, mean: float, n: int, noise: float = NOISE) -> list[float]:
    """Rates around `mean`."""
    return [float(rate) for rate in random.normal(mean, noise * mean, n)]


# --- the mean -----------------------------------------------------------------------------------------------


def test_agrees_with_a_textbook() -> None:
    # Mean 10, standard deviation 1, n = 5; the table's t for 4 degrees of freedom at 95 % is 2.776.
    values = [10 + deviation * math.sqrt(4 / 10) for deviation in (-2, -1, 0, 1, 2)]
    found = interval(values)
    assert found.n == 5
    assert found.mean == pytest.approx(10)
    assert found.half == pytest.approx(2.776 / math.sqrt(5), abs=1e-3)
    assert found.high - found.mean == pytest.approx(found.mean - found.low)


rates = st.floats(min_value=1e-3, max_value=1e4)


@given(st.lists(rates, min_size=2, max_size=20, unique=True))
def test_agrees_with_scipy(values: list[float]) -> None:
    low, high = scipy_stats.t.interval(CONFIDENCE, len(values) - 1, np.mean(values), scipy_stats.sem(values))
    found = interval(values)
    assert [found.low, found.high] == pytest.approx([low, high])


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = interval([3.0, 3.0, 3.0])
    assert (found.low, found.mean, found.high, found.half) == (3.0, 3.0, 3.0, 0.0)


@pytest.mark.filterwarnings("error")
def test_one_value_has_no_interval() -> None:
    found = interval([7.5])
    assert (found.mean, found.n) == (7.5, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.half)


def test_no_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        interval([])


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_mean_is_in_its_interval_as_often_as_it_says(n: int) -> None:
    random = np.random.default_rng(1)
    found = [interval(noisy(random, 20, n)) for _ in range(DRAWS)]
    assert sum(i.low <= 20 <= i.high for i in found) / DRAWS == pytest.approx(CONFIDENCE, abs=0.02)


# --- the median ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 6, 7, 10, 20])
def test_the_median_is_in_its_interval_about_as_often_as_it_says(n: int) -> None:
    random = np.random.default_rng(2)
    draws = 200
    found = [median_interval(noisy(random, 20, n)) for _ in range(draws)]
    assert 0.85 <= sum(i.low <= 20 <= i.high for i in found) / draws <= 0.99


def test_a_disturbed_repetition_leaves_the_median_be() -> None:
    quiet = [20.1, 20.2, 19.9, 20.0, 19.8, 20.1, 20.0]
    disturbed = [*quiet[:-1], 4.0]
    assert abs(median_interval(disturbed).mean - median_interval(quiet).mean) <= 0.1
    assert abs(interval(disturbed).mean - interval(quiet).mean) > 2


def test_the_same_values_have_the_same_interval() -> None:
    random = np.random.default_rng(3)
    sets = [noisy(random, 20, 30) for _ in range(20)]  # of one set, two bootstraps may agree by chance
    found = [median_interval(values) for values in sets]
    assert found == [median_interval(values) for values in sets]
    assert all(min(v) <= i.low <= i.mean <= i.high <= max(v) for v, i in zip(sets, found, strict=True))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[7.5], [7.0, 8.0], [7.0, 7.5, 8.0], [7.0, 7.5, 7.5, 8.0]])
def test_few_values_have_a_median_and_no_interval(values: list[float]) -> None:
    found = median_interval(values)
    assert (found.mean, found.n) == (7.5, len(values))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_median_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


# --- outliers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "far"),
    [
        ([20.1, 20.0, 4.0, 19.9, 20.2], [2]),
        ([20.1, 20.0, 40.0, 19.9, 20.2, 1.0], [2, 5]),
        ([20.1, 20.0, 19.8, 19.9, 20.2], []),
        ([10.0, 10.0, 10.0, 10.0, 9.9], [4]),  # no spread at all: whatever differs
        ([10.0] * 5, []),
        ([20.0, 20.0, 4.0], []),
        ([], []),
    ],
)
def test_outliers_are_named_by_their_place(values: list[float], far: list[int]) -> None:
    assert outliers(values) == far


@pytest.mark.parametrize(("n", "most"), [(5, 0.13), (10, 0.05), (30, 0.01)])
def test_clean_values_seldom_have_outliers(n: int, most: float) -> None:
    random = np.random.default_rng(4)
    assert sum(bool(outliers(noisy(random, 20, n))) for _ in range(DRAWS)) / DRAWS <= most


# --- drift --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "change"),
    [
        ([20.1, 20.0, 19.2, 18.1, 17.0], -0.172),
        ([10.0, 11.0, 12.0, 13.0], 0.261),
        # A phone that lost 44 % by its eighth repetition (TinyBench).
        ([100.0, 89.0, 79.0, 72.0, 66.0, 62.0, 58.0, 56.0], -0.596),
    ],
)
def test_drift_is_found_with_its_size(values: list[float], change: float) -> None:
    found = drift(values)
    assert found.significant
    assert found.change == pytest.approx(change, abs=1e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[5.0], [5.0, 1.0], [5.0, 5.0, 5.0], [20.0, 20.4, 19.7, 20.2, 20.0]])
def test_no_drift_is_told_where_there_is_none_or_too_little_to_tell(values: list[float]) -> None:
    assert not drift(values).significant


@pytest.mark.parametrize("n", [3, 5, 10])
def test_noise_is_seldom_called_drift(n: int) -> None:
    random = np.random.default_rng(5)
    assert sum(drift(noisy(random, 20, n)).significant for _ in range(DRAWS)) / DRAWS <= 0.06


def test_a_drift_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        drift([])


# --- two sets -----------------------------------------------------------------------------------------------


def comparisons(slowdown: float, n: int = REPETITIONS) -> list[Comparison]:
    random = np.random.default_rng(6)
    return [compare(noisy(random, 20, n), noisy(random, 20 * (1 - slowdown), n)) for _ in range(DRAWS)]


def share(found: list[Comparison], answer: str) -> float:
    return sum(comparison.answer == answer for comparison in found) / len(found)


def test_a_slowdown_of_5_percent_is_found() -> None:
    found = comparisons(0.05)
    assert share(found, "slower") >= 0.92
    assert share(found, "faster") == 0
    assert sum(c.ratio.low <= 0.95 <= c.ratio.high for c in found) / DRAWS == pytest.approx(CONFIDENCE, abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 5, REPETITIONS])
def test_no_slowdown_is_seldom_called_significant(n: int) -> None:
    found = comparisons(0, n)
    assert share(found, "not significant") >= 0.94
    assert share(found, "slower") > 0  # or nothing would ever be


@given(st.lists(rates, min_size=2, max_size=9, unique=True), st.lists(rates, min_size=2, max_size=9, unique=True))
def test_agrees_with_welchs_test(before: list[float], after: list[float]) -> None:
    welch = scipy_stats.ttest_ind(np.log(after), np.log(before), equal_var=False).confidence_interval(CONFIDENCE)
    found = compare(before, after).ratio
    assert np.log([found.low, found.high]) == pytest.approx([welch.low, welch.high], abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_rates_however_far_apart_raise_nothing() -> None:
    assert compare([1e-300, 1e300], [1.0, 2.0]).ratio.high == math.inf


@pytest.mark.filterwarnings("error")
@given(st.lists(rates, min_size=2, max_size=8), st.lists(rates, min_size=2, max_size=8))
def test_the_other_way_round_is_the_inverse(before: list[float], after: list[float]) -> None:
    there, back = compare(before, after).ratio, compare(after, before).ratio
    assert there.n == min(len(before), len(after))
    assert [there.mean, there.low, there.high] == pytest.approx([1 / back.mean, 1 / back.high, 1 / back.low])


@pytest.mark.filterwarnings("error")
def test_sets_without_spread() -> None:
    assert compare([10.0, 10.0], [20.0, 20.0, 20.0]).answer == "faster"
    assert compare([10.0, 10.0], [5.0, 5.0]).answer == "slower"
    same = compare([10.0, 10.0], [10.0, 10.0])
    assert (same.answer, same.ratio.mean, same.ratio.half) == ("not significant", 1.0, 0.0)


@pytest.mark.filterwarnings("error")
def test_one_repetition_tells_nothing_however_far_apart() -> None:
    found = compare([100.0, 101.0, 99.0], [1.0])
    assert found.answer == "not significant"
    assert found.ratio.mean == pytest.approx(0.01, rel=1e-3)
    assert math.isnan(found.ratio.low)


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [-1.0], [math.inf, 1.0], [math.nan]])
def test_what_is_no_rate_is_not_compared(bad: list[float]) -> None:
    for before, after in ((bad, [1.0, 2.0]), ([1.0, 2.0], bad)):
        with pytest.raises(ValueError, match="no rates"):
            compare(before, after)
