from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from smoothdroid.host.report.data.paired import ratio
from smoothdroid.host.results.statistics import CONFIDENCE

values = st.floats(0.1, 10)


@given(st.lists(st.tuples(values, values), min_size=3, max_size=20))
def test_holds_just_the_ratios_that_a_paired_t_test_does_not_reject(pairs: list[tuple[float, float]]) -> None:
    over, under = np.array(pairs).T
    found = ratio(over.tolist(), under.tolist())
    assert found.mean == pytest.approx(over.mean() / under.mean())
    assume(math.isfinite(found.high) and found.high - found.low > 1e-3)
    for end, outwards in ((found.low, -1), (found.high, 1)):
        for beyond in (True, False):
            asked = end + (outwards if beyond else -outwards) * 1e-4
            p = stats.ttest_1samp(over - asked * under, 0).pvalue
            assert bool(p < 1 - CONFIDENCE) == beyond


def test_what_rises_and_falls_together_has_a_narrow_interval() -> None:
    under = [1.0, 5.0, 2.0, 9.0, 4.0]
    together = ratio([0.6 * value + 0.01 * n for n, value in enumerate(under)], under)
    apart = ratio([0.6 * value for value in under[::-1]], under)
    assert together.half < 0.02 < 0.5 < apart.half


def test_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        loudness = random.lognormal(0, 0.3, 16)
        over = 0.65 * loudness * random.lognormal(0, 0.1, 16)
        found = ratio(over.tolist(), (loudness * random.lognormal(0, 0.1, 16)).tolist())
        hits += found.low <= 0.65 <= found.high
    assert 0.92 < hits / 500 < 0.98


def test_the_same_twice_is_1() -> None:
    found = ratio([3.0, 3.5, 4.0], [3.0, 3.5, 4.0])
    assert [found.low, found.mean, found.high] == pytest.approx([1, 1, 1])


def test_nothing_is_known_where_the_sign_of_the_mean_is_not() -> None:
    found = ratio([1.0, 2.0, 3.0], [-1.0, 1.0, 0.1])
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_one_pair_has_no_interval() -> None:
    found = ratio([1.0], [2.0])
    assert found.mean == 0.5
    assert math.isnan(found.low)


@pytest.mark.parametrize(("over", "under"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 1.0], [0.0, 0.0])])
def test_what_is_no_ratio(over: list[float], under: list[float]) -> None:
    with pytest.raises(ValueError, match=r"not pairs|denominators is 0"):
        ratio(over, under)
