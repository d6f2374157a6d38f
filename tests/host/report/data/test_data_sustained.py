from __future__ import annotations

import math

import pytest

from smoothdroid.host.report.data.sustained import SustainedRates, sustained_rates
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.judged_cells import Judged
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import campaign, model, phone, run_of

# 120 tokens/s for two minutes, then 60 for two.
SLOWING = SustainedRates([60.0, 120.0, 180.0, 240.0], [120.0, 120.0, 60.0, 60.0])


def test_the_whole_is_all_tokens_over_all_time() -> None:
    assert SLOWING.whole.mean == 90.0
    assert (math.isnan(SLOWING.whole.low), SLOWING.whole.n) == (True, 1)
    uneven = SustainedRates([1.0, 11.0], [100.0, 10.0])
    assert uneven.whole.mean == pytest.approx(200 / 11), "and not the mean of the rates"


def test_first_and_last_minute() -> None:
    assert (SLOWING.first, SLOWING.last) == (120.0, 60.0)
    assert str(SLOWING) == "first minute 120, last 60 tokens/s (50%), over 240 s"
    across = SustainedRates([50.0, 100.0], [10.0, 4.0])
    assert across.first == pytest.approx((50 * 10 + 10 * 4) / 60)
    assert across.last == pytest.approx((50 * 4 + 10 * 10) / 60)
    short = SustainedRates([5.0, 10.0], [10.0, 5.0])
    assert short.first == short.last == pytest.approx(7.5)


def test_reads_llama_benchs_repetitions() -> None:
    plan = Plan(
        models=[model("a")], tests=[Test(n_gen=8, sustained_s=60)], threads=[1], protocol=Protocol(repetitions=3)
    )
    known = campaign(plan, phone())
    (cell,) = plan.cells()
    found = sustained_rates(Judged(cell, [run_of(known, cell, [8.0, 4.0, 2.0])]))
    assert found.ends_s == pytest.approx([1.0, 3.0, 7.0])
    assert found.tokens_per_s == [8.0, 4.0, 2.0]
