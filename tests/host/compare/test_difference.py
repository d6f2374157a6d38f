from __future__ import annotations

import math

import numpy as np
import pytest

from smoothdroid.host.compare.difference import Processes, differences, processes
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.judged_cells import Judged
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.statistics import compare, compare_paired, holm
from tests.host.fakes import campaign, model, phone, run_of

PLAN = Plan(models=[model("m")], threads=[1], tests=[Test(n_prompt=512)], protocol=Protocol(repetitions=2, rounds=3))


def measured(campaign: str, *means: float, rounds: list[int] | None = None) -> Processes:
    return {(campaign, number): mean for number, mean in zip(rounds or range(len(means)), means, strict=True)}


def test_a_process_is_one_value_the_mean_of_its_repetitions() -> None:
    known = campaign(PLAN, phone())
    cell: Cell = next(PLAN.cells())
    runs = [run_of(known, cell, [10.0, 12.0]).model_copy(update={"round": number}) for number in (0, 2)]
    judged = Judged(cell, counted=runs, rejected=[run_of(known, cell, [1.0]).model_copy(update={"round": 1})])
    assert processes(judged, "here") == {("here", 0): 11.0, ("here", 2): 11.0}


def test_cells_of_two_campaigns_are_compared_unpaired() -> None:
    a, b = (10.0, 10.2, 9.9), (9.0, 9.3, 9.1, 8.9)
    (found,) = differences([(measured("one", *a), measured("other", *b))], 0.05)
    assert (found.paired, found.one_campaign, found.left_out, found.n) == (False, False, 0, 3)
    assert found.comparison == compare(a, b)
    assert found.p_value == found.comparison.p_value
    assert (found.answer, found.regression) == ("slower", True)


def test_cells_of_one_campaign_are_compared_by_round() -> None:
    """Rounds differ by a tenth, the two cells of a round by a hundredth: only pairs show it."""
    rounds = (10.0, 11.0, 9.0, 10.5, 9.5)
    a, b = list(rounds), [rate * share for rate, share in zip(rounds, (0.989, 0.99, 0.991, 0.99, 0.99), strict=True)]
    (found,) = differences([(measured("c", *a), measured("c", *b))], 0.05)
    assert (found.paired, found.n, found.left_out) == (True, 5, 0)
    assert found.comparison == compare_paired(a, b)
    assert (found.answer, found.regression) == ("slower", False)
    (unpaired,) = differences([(measured("c", *a), measured("d", *b))], 0.05)
    assert unpaired.answer == "not significant"


def test_a_round_that_one_side_lacks_drops_out() -> None:
    a = measured("c", 10.0, 50.0, 9.8, 10.1)
    b = measured("c", 9.0, 8.8, 9.2, 1.0, rounds=[0, 2, 3, 4])
    (found,) = differences([(a, b)], 0.05)
    assert (found.a, found.b, found.left_out) == ([10.0, 9.8, 10.1], [9.0, 8.8, 9.2], 2)


def test_a_round_of_another_campaign_is_another_round() -> None:
    (found,) = differences([({("c", 0): 1.0, ("d", 0): 2.0}, {("d", 0): 3.0, ("e", 0): 4.0})], 0.05)
    assert (found.a, found.b, found.left_out) == ([2.0], [3.0], 2)


def test_without_a_common_round_processes_of_one_campaign_are_unpaired() -> None:
    a, b = measured("c", 10.0, 10.1), measured("c", 9.0, 9.1, rounds=[2, 3])
    (found,) = differences([(a, b)], 0.05)
    assert (found.paired, found.one_campaign, found.left_out, found.n) == (False, True, 0, 2)


@pytest.mark.parametrize("n", [1, 3])
def test_one_process_answers_nothing(n: int) -> None:
    (found,) = differences([(measured("c", 10.0), measured("d", *[1.0 + 0.01 * i for i in range(n)]))], 0.05)
    assert found.n == 1
    assert math.isnan(found.p_value)
    assert math.isnan(found.comparison.ratio.low)
    assert (found.answer, found.regression) == ("not significant", False)


def test_p_values_are_adjusted_for_all_cells_that_have_one() -> None:
    same, slightly = (10.0, 10.1, 9.9), (9.7, 9.8, 9.75)
    one = (measured("c", *same), measured("d", *slightly))
    (alone,) = differences([one], 0.0)
    assert (alone.answer, alone.regression) == ("slower", True)
    nothing = (measured("c", *same), measured("d", *same))
    untested = (measured("c", 1.0), measured("d", 2.0))
    among = differences([one, *[nothing] * 9, untested], 0.0)
    assert [found.p_value for found in among[:10]] == holm([found.comparison.p_value for found in among[:10]])
    assert among[0].p_value == pytest.approx(10 * alone.p_value)
    assert (among[0].answer, among[0].regression) == ("not significant", False)
    assert among[0].comparison == alone.comparison  # its own interval


@pytest.mark.parametrize(
    ("share", "threshold", "regression"),
    [(0.9, 0.05, True), (0.9, 0.11, False), (0.97, 0.05, False), (0.97, 0.0, True), (1.1, 0.0, False)],
)
def test_a_regression_is_significant_and_beyond_the_threshold(share: float, threshold: float, regression: bool) -> None:
    a = (10.0, 10.01, 9.99)
    (found,) = differences([(measured("c", *a), measured("d", *[share * rate for rate in a]))], threshold)
    assert found.answer != "not significant"
    assert found.regression == regression


def test_a_slowdown_that_may_be_chance_is_no_regression() -> None:
    (found,) = differences([(measured("c", 10.0, 10.1, 9.9), measured("d", 1.0, 19.0, 2.0))], 0.05)
    assert found.comparison.ratio.mean < 0.5
    assert not found.regression


@pytest.mark.parametrize(("slowdown", "least", "most"), [(0.08, 0.9, 1.0), (0.02, 0.0, 0.05)])
@pytest.mark.parametrize("cells", [1, 24])
def test_the_threshold_tells_8_percent_from_2(slowdown: float, least: float, most: float, cells: int) -> None:
    """Five processes of two repetitions, 1 % of noise between processes and 1 % within; one of the cells is slower."""
    chance = np.random.default_rng(1)

    def draw(rate: float, name: str) -> Processes:
        means = rate * (1 + 0.01 * chance.standard_normal(5)) * (1 + 0.01 / np.sqrt(2) * chance.standard_normal(5))
        return measured(name, *means.tolist())

    exits = 0
    for _ in range(100):
        drawn = [(draw(10, "a"), draw(10 * (1 - slowdown) if cell == 0 else 10, "b")) for cell in range(cells)]
        exits += any(found.regression for found in differences(drawn, 0.05))
    assert least <= exits / 100 <= most
