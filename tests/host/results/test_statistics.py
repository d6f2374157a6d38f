from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from smoothdroid.host.results.statistics import (
    CONFIDENCE,
    Comparison,
    compare,
    compare_paired,
    drift,
    fastest,
    holm,
    interval,
    step,
)

NOISE = 0.03
PROCESSES = 10
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


# --- drift and steps within a process -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "share"),
    [
        ([[20.1, 20.0, 19.2, 18.1, 17.0]], -0.172),
        ([[10.0, 11.0, 12.0, 13.0]], 0.261),
        # A phone that lost 44 % by its eighth repetition (TinyBench).
        ([[100.0, 89.0, 79.0, 72.0, 66.0, 62.0, 58.0, 56.0]], -0.596),
        # Every process starts cool again: together the repetitions only look noisy.
        ([[20.0, 17.0], [20.1, 17.2], [19.9, 17.0]], -0.158),
    ],
)
def test_drift_is_found_with_its_size(rounds: list[list[float]], share: float) -> None:
    found = drift(rounds)
    assert found
    assert found.p_value < 0.05
    assert found.share == pytest.approx(share, abs=1e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rounds", [[], [[5.0]], [[5.0, 1.0]], [[5.0], [1.0]]])
def test_too_few_repetitions_show_neither_drift_nor_step(rounds: list[list[float]]) -> None:
    assert drift(rounds) is None
    assert step(rounds) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rounds", [[[5.0, 5.0, 5.0]], [[20.0, 20.4, 19.7, 20.2, 20.0]], [[5.0, 5.0], [6.0, 6.0]]])
def test_steady_repetitions_neither_drift_nor_step(rounds: list[list[float]]) -> None:
    for found in (drift(rounds), step(rounds)):
        assert found
        assert found.p_value > 0.05


@pytest.mark.parametrize("shape", [(1, 3), (1, 10), (5, 2), (3, 5)])
def test_noise_is_seldom_called_drift_or_step(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    processes, repetitions = shape
    draws = [[noisy(random, 20, repetitions) for _ in range(processes)] for _ in range(DRAWS // 2)]
    for test in (drift, step):
        assert sum((found := test(rounds)) is not None and found.p_value < 0.05 for rounds in draws) <= 0.065 * len(
            draws
        )


def test_a_step_is_found_in_its_process_at_its_place() -> None:
    steady = [20.0, 20.2, 19.9, 20.1, 20.0, 19.8, 20.1, 20.0, 19.9]
    last = step([[*steady, 16.0]])
    assert last
    assert (last.process, last.after) == (0, 9)
    assert last.share == pytest.approx(-0.204, abs=0.002)
    assert last.p_value < 0.001
    second = step([[20.0, 20.1], [20.0, 19.9], [20.1, 16.0], [20.1, 20.0], [19.9, 20.0]])
    assert second
    assert (second.process, second.after) == (2, 1)
    assert second.p_value < 0.05


# --- the best of several ------------------------------------------------------------------------------------


def test_the_winner_is_the_fastest_and_its_interval_reaches_lower() -> None:
    settings = [[9.9, 10.0, 10.1], [14.9, 15.0, 15.1], [15.0, 15.1, 15.0]]
    found = fastest(settings)
    alone = interval(settings[2])
    assert (found.index, found.alike) == (2, [1])
    assert found.rate.mean == alone.mean
    assert found.rate.low < alone.low
    assert found.rate.high == alone.high


def test_a_single_setting_needs_no_correction() -> None:
    assert fastest([[9.9, 10.0, 10.1]]).rate == interval([9.9, 10.0, 10.1])


def test_with_one_process_each_nothing_is_slower() -> None:
    found = fastest([[10.0], [20.0], [15.0]])
    assert (found.index, found.alike) == (1, [2, 0])
    assert math.isnan(found.rate.low)


@pytest.mark.parametrize("k", [2, 8])
def test_the_winner_of_equal_settings_is_in_its_interval_and_none_is_lost(k: int) -> None:
    random = np.random.default_rng(7)
    found = [fastest([noisy(random, 20, 5, 0.01) for _ in range(k)]) for _ in range(DRAWS // 4)]
    assert sum(f.rate.low <= 20 <= f.rate.high for f in found) / len(found) >= 0.93
    # Any one of them may be the truly fastest: here the first.
    assert sum(0 in (f.index, *f.alike) for f in found) / len(found) >= 0.93


# --- many comparisons ---------------------------------------------------------------------------------------


def test_holm_agrees_with_a_textbook() -> None:
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, none below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])


def test_a_p_value_that_is_not_known_does_not_count() -> None:
    found = holm([0.02, math.nan, 0.04])
    assert found[0] == pytest.approx(0.04)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.04)


def test_pairs_cancel_what_a_round_does_to_both() -> None:
    before = [10.0, 8.0, 12.0, 9.0, 11.0]
    after = [rate * factor for rate, factor in zip(before, (0.97, 0.971, 0.969, 0.97, 0.97), strict=True)]
    paired, welch = compare_paired(before, after), compare(before, after)
    assert paired.answer(paired.p_value) == "slower"
    assert welch.answer(welch.p_value) == "not significant"
    assert paired.ratio.mean == pytest.approx(0.97, abs=1e-3)
    expected = scipy_stats.ttest_rel(np.log(after), np.log(before)).pvalue
    assert paired.p_value == pytest.approx(expected)


@pytest.mark.parametrize(("before", "after"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])])
def test_values_without_partners_are_no_pairs(before: list[float], after: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no (pairs|rates)"):
        compare_paired(before, after)


# --- two sets -----------------------------------------------------------------------------------------------


def comparisons(slowdown: float, n: int = PROCESSES) -> list[Comparison]:
    random = np.random.default_rng(6)
    return [compare(noisy(random, 20, n), noisy(random, 20 * (1 - slowdown), n)) for _ in range(DRAWS)]


def share(found: list[Comparison], answer: str) -> float:
    return sum(comparison.answer(comparison.p_value) == answer for comparison in found) / len(found)


def test_a_slowdown_of_5_percent_is_found() -> None:
    found = comparisons(0.05)
    assert share(found, "slower") >= 0.92
    assert share(found, "faster") == 0
    assert sum(c.ratio.low <= 0.95 <= c.ratio.high for c in found) / DRAWS == pytest.approx(CONFIDENCE, abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 5, PROCESSES])
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
    assert share([compare([10.0, 10.0], [20.0, 20.0, 20.0])], "faster") == 1
    assert share([compare([10.0, 10.0], [5.0, 5.0])], "slower") == 1
    same = compare([10.0, 10.0], [10.0, 10.0])
    assert (same.p_value, same.ratio.mean, same.ratio.half) == (1.0, 1.0, 0.0)


@pytest.mark.filterwarnings("error")
def test_one_process_shows_no_difference_however_far_apart() -> None:
    found = compare([100.0, 101.0, 99.0], [1.0])
    assert math.isnan(found.p_value)
    assert found.answer(found.p_value) == "not significant"
    assert found.ratio.mean == pytest.approx(0.01, rel=1e-3)
    assert math.isnan(found.ratio.low)


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [-1.0], [math.inf, 1.0], [math.nan]])
def test_what_is_no_rate_is_not_compared(bad: list[float]) -> None:
    for before, after in ((bad, [1.0, 2.0]), ([1.0, 2.0], bad)):
        with pytest.raises(ValueError, match="no rates"):
            compare(before, after)
