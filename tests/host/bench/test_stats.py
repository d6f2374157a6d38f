from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from host.bench.stats import CONFIDENCE, interval


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
