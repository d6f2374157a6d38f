from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from host.bench.cell import Cell, Protocol, Test
from host.bench.plan import Plan
from host.bench.results import Run
from host.bench.schedule import MOST_ROUNDS, Order, Turn, due, finished
from tests.host.fakes import campaign, model, phone, run_of

STEADY, NOISY = [9.99, 10.0, 10.01], [8.0, 10.0, 12.0]


class Measures:
    """A phone that measures each turn at once, at rates of its own."""

    def __init__(self, protocol: Protocol, tests: Sequence[Test] = (Test(n_gen=8),), **rates: Sequence[float]) -> None:
        self.plan = Plan(models=[model(name) for name in rates], tests=list(tests), threads=[1, 2], protocol=protocol)
        self.campaign = campaign(self.plan, phone())
        names = {cell: cell.fingerprint(phone().id, "adb", self.campaign.build_id) for cell in self.plan.cells()}
        self.order = Order(self.plan, names)
        self.rates = rates
        self.runs: list[Run] = []
        self.jobs: list[list[Turn]] = []

    def job(self) -> list[Turn]:
        turns = due(self.order, self.runs, {run.fingerprint for run in self.runs if run.failure})
        self.runs += [self.run(turn) for turn in turns]
        return turns

    def run(self, turn: Turn, **changes: Any) -> Run:
        rates = self.rates[turn.cell.model][: turn.repetitions]
        run = run_of(self.campaign, turn.cell, rates, None if rates else "killed")
        return run.model_copy(update={"round": turn.round, **changes})

    def to_the_end(self) -> None:
        while turns := self.job():
            self.jobs.append(turns)


def test_every_round_of_every_cell_in_its_turn() -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=3), a=STEADY, b=NOISY)
    phone_.to_the_end()
    (turns,) = phone_.jobs
    assert [turn.round for turn in turns] == [0] * 4 + [1] * 4 + [2] * 4
    for number in range(3):
        assert [turn.cell for turn in turns[4 * number : 4 * number + 4]] == list(phone_.plan.turns(number))
    assert len({turn.task for turn in turns}) == 12
    assert {turn.repetitions for turn in turns} == {3}


def test_what_was_measured_has_no_turn_what_failed_has_one_again() -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=2), a=STEADY)
    first, *others = due(phone_.order, [])
    assert due(phone_.order, [phone_.run(first)]) == others
    failed = phone_.run(first, failure="killed", tokens_per_s=[])
    assert due(phone_.order, [failed]) == [first, *others]
    without = due(phone_.order, [failed], {first.fingerprint})
    assert without == [turn for turn in others if turn.cell != first.cell]


def test_rounds_go_on_for_what_is_too_vague_until_the_budget_is_spent() -> None:
    phone_ = Measures(Protocol(repetitions=3, until=0.02, budget_s=6), a=STEADY, b=NOISY)
    phone_.to_the_end()
    first, *later = phone_.jobs
    assert len(first) == 4
    # Each run takes 1.5 s: the budget is spent after the fourth.
    assert [[(turn.cell.model, turn.round) for turn in turns] for turns in later] == [
        [("b", number)] * 2 for number in (1, 2, 3)
    ]


def test_rounds_end_when_the_interval_is_narrow_enough() -> None:
    phone_ = Measures(Protocol(repetitions=3, until=0.2, budget_s=10_000), a=NOISY)
    phone_.to_the_end()
    assert 1 < len(phone_.jobs) < 20
    never = Measures(Protocol(repetitions=3, until=0.0, budget_s=10_000_000), a=NOISY)
    never.to_the_end()
    assert len(never.jobs) == MOST_ROUNDS


def test_what_is_not_believed_makes_nothing_surer_and_costs_as_much() -> None:
    phone_ = Measures(Protocol(repetitions=3, until=0.02, budget_s=6), a=STEADY)
    runs = [phone_.run(turn) for turn in due(phone_.order, [])]
    hot = due(phone_.order, runs, believed=lambda run: False)
    assert [turn.round for turn in hot] == [1, 1]
    assert due(phone_.order, runs) == []
    spent = [run.model_copy(update={"wall_s": 6.0}) for run in runs]
    assert due(phone_.order, spent, believed=lambda run: False) == []


def test_one_repetition_has_no_interval_and_is_too_vague() -> None:
    phone_ = Measures(Protocol(repetitions=1, until=0.1, budget_s=3), a=STEADY)
    phone_.to_the_end()
    assert [len(turns) for turns in phone_.jobs] == [2, 2]


def test_what_is_kept_up_comes_last_and_takes_its_repetitions_from_its_burst() -> None:
    burst = Test(n_gen=8)
    phone_ = Measures(Protocol(repetitions=3), [burst, burst.model_copy(update={"sustained_s": 60})], a=STEADY)
    phone_.to_the_end()
    first, last = phone_.jobs
    assert {turn.cell.test.sustained_s for turn in first} == {0}
    assert {turn.cell.test.sustained_s for turn in last} == {60}
    assert {turn.repetitions for turn in last} == {76}  # of 8 tokens each, at 10.01 tokens/s: 60 s and a little


def test_what_has_no_burst_is_not_kept_up() -> None:
    burst = Test(n_gen=8)
    phone_ = Measures(Protocol(repetitions=3), [burst, burst.model_copy(update={"sustained_s": 60})], a=())
    phone_.to_the_end()
    assert [len(turns) for turns in phone_.jobs] == [2]


@pytest.mark.parametrize(("rounds", "asked"), [(1, 3), (2, 6)])
def test_a_prompt_is_asked_in_a_process_of_its_own_each_time(rounds: int, asked: int) -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=rounds), [Test(prompt="hi", n_gen=8)], a=STEADY)
    phone_.to_the_end()
    (turns,) = phone_.jobs
    assert len(turns) == 2 * asked
    assert {turn.repetitions for turn in turns} == {1}


def test_a_cell_is_a_cell_whatever_it_was_read_from() -> None:
    cell = next(Measures(Protocol(repetitions=3), a=STEADY).plan.cells())
    assert {cell: 1}[Cell.model_validate_json(cell.model_dump_json())] == 1


def test_finished_is_what_was_measured_and_has_no_turn_to_come() -> None:
    long = Test(n_gen=8, sustained_s=60)
    phone_ = Measures(Protocol(repetitions=3, rounds=2, until=0.02), [long.burst, long], steady=STEADY, noisy=NOISY)
    assert finished(phone_.order, []) == set()
    first = phone_.job()
    assert [turn.round for turn in first] == [0] * 4 + [1] * 4
    half = [run for run in phone_.runs if run.round == 0]
    assert finished(phone_.order, half) == set(), "each lacks a round"
    both = finished(phone_.order, phone_.runs)
    assert {(cell.model, cell.test) for cell in both} == {("steady", long.burst)}, "the noisy one is too vague"
    failed = [run.model_copy(update={"failure": "killed"}) for run in phone_.runs]
    assert finished(phone_.order, failed) == set()
    phone_.to_the_end()
    assert finished(phone_.order, phone_.runs) >= {cell for _, cell in phone_.order.cells if cell.test == long}
