from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smoothdroid.host.bench.schedule import LEAST_PROCESSES, MOST_REPETITIONS, MOST_ROUNDS, Order, Slot, due, finished
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Run
from tests.host.fakes import campaign, model, phone, run_of

STEADY, NOISY = [9.99, 10.0, 10.01], [8.0, 10.0, 12.0]
TG32 = Test(n_gen=32)  # 3.2 s at 10 tokens/s: long enough to be sampled


class Measures:
    """A phone that measures each turn at once: the repetitions of process n all have the model's rate n."""

    def __init__(self, protocol: Protocol, tests: Sequence[Test] = (TG32,), **rates: Sequence[float]) -> None:
        self.plan = Plan(models=[model(name) for name in rates], tests=list(tests), threads=[1, 2], protocol=protocol)
        self.campaign = campaign(self.plan, phone())
        names = {cell: cell.fingerprint(phone().id, "adb", self.campaign.build_id) for cell in self.plan.cells()}
        self.order = Order(self.plan, names)
        self.rates = rates
        self.runs: list[Run] = []
        self.jobs: list[list[Slot]] = []

    def job(self) -> list[Slot]:
        turns = due(self.order, self.runs, {run.fingerprint for run in self.runs if run.failure})
        self.runs += [self.run(turn) for turn in turns]
        return turns

    def run(self, turn: Slot, **changes: Any) -> Run:
        rates = self.rates[turn.cell.model]
        mine = [rates[turn.round % len(rates)]] * turn.repetitions if rates else []
        run = run_of(self.campaign, turn.cell, mine, None if mine else "killed")
        return run.model_copy(update={"round": turn.round, **changes})

    def to_the_end(self) -> None:
        while turns := self.job():
            self.jobs.append(turns)


def test_round_0_of_every_cell_comes_first_then_the_other_rounds_in_their_turn() -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=3), a=STEADY, b=NOISY)
    phone_.to_the_end()
    first, others = phone_.jobs
    assert [turn.round for turn in first] == [0] * 4
    assert [turn.round for turn in others] == [1] * 4 + [2] * 4
    turns = [*first, *others]
    for number in range(3):
        assert [turn.cell for turn in turns[4 * number : 4 * number + 4]] == list(phone_.plan.turns(number))
    assert len({turn.task for turn in turns}) == 12
    assert {turn.repetitions for turn in turns} == {3}


def test_a_cell_without_its_round_0_holds_back_the_rounds_of_all() -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=2), a=STEADY)
    first = phone_.job()
    later = [phone_.run(turn) for turn in due(phone_.order, phone_.runs)]
    assert due(phone_.order, [*phone_.runs[1:], *later]) == first[:1]


@pytest.mark.parametrize(
    ("rate", "repetitions"),
    [
        (1.0, 2),  # 8 s each
        (8.0, 3),  # 1 s each: as long as it takes to be sampled
        (20.0, 8),  # 0.4 s each
        (2666.0, MOST_REPETITIONS),  # 3 ms each: 1000 take 3 s
        (8e9, MOST_REPETITIONS),  # no phone is so fast
    ],
)
def test_processes_that_would_be_over_too_soon_get_more_repetitions(rate: float, repetitions: int) -> None:
    phone_ = Measures(Protocol(repetitions=2, rounds=3), [Test(n_gen=8)], a=[rate])
    phone_.to_the_end()
    first, others = phone_.jobs
    assert {turn.repetitions for turn in first} == {2}, "nothing shows yet how fast it is"
    assert {turn.repetitions for turn in others} == {repetitions}


def test_the_slowest_process_so_far_says_how_many_repetitions_are_enough() -> None:
    phone_ = Measures(Protocol(repetitions=1, rounds=3), [Test(n_gen=8)], a=[4.0, 16.0, 16.0])
    first = phone_.job()
    assert {turn.repetitions for turn in due(phone_.order, phone_.runs)} == {2}
    fast = [phone_.run(turn).model_copy(update={"round": 1}) for turn in first]
    assert {turn.repetitions for turn in due(phone_.order, [*phone_.runs, *fast])} == {2}


def test_a_run_whose_time_is_not_known_adds_no_repetitions() -> None:
    phone_ = Measures(Protocol(repetitions=2, rounds=2), [Test(n_gen=8)], a=[20.0])
    phone_.job()
    silent = [run.model_copy(update={"bench": None}) for run in phone_.runs]
    assert {turn.repetitions for turn in due(phone_.order, silent)} == {2}


def test_what_was_measured_has_no_turn_what_failed_has_one_again() -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=2), a=STEADY)
    first, *others = due(phone_.order, [])
    assert due(phone_.order, [phone_.run(first)]) == others
    failed = phone_.run(first, failure="killed", tokens_per_s=[])
    assert due(phone_.order, [failed]) == [first, *others]
    without = due(phone_.order, [failed], {first.fingerprint})
    assert without == [turn for turn in others if turn.cell != first.cell]
    rest = due(phone_.order, [failed, *(phone_.run(turn) for turn in others)], {first.fingerprint})
    assert [(turn.cell, turn.round) for turn in rest] == [
        (cell, 1) for cell in phone_.plan.turns(1) if cell != first.cell
    ], "a cell that failed keeps none of the others from its rounds"


def test_rounds_go_on_for_what_is_too_vague_until_the_budget_is_spent() -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=5, until=0.02, budget_s=12), a=STEADY, b=NOISY)
    phone_.to_the_end()
    first, others, *later = phone_.jobs
    assert (len(first), len(others)) == (4, 16)
    # Each run takes 1.5 s: the budget is spent after the eighth.
    assert [[(turn.cell.model, turn.round) for turn in turns] for turns in later] == [
        [("b", number)] * 2 for number in (5, 6, 7)
    ]


def test_rounds_end_when_the_interval_is_narrow_enough() -> None:
    phone_ = Measures(Protocol(repetitions=3, until=0.2, budget_s=10_000), a=NOISY)
    phone_.to_the_end()
    assert LEAST_PROCESSES < len(phone_.jobs) < 20
    never = Measures(Protocol(repetitions=3, until=0.0, budget_s=10_000_000), a=NOISY)
    never.to_the_end()
    assert len(never.jobs) == MOST_ROUNDS


@pytest.mark.parametrize("rounds", [1, 2, 5, 7])
def test_until_ends_no_cell_before_it_has_enough_processes(rounds: int) -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=rounds, until=0.5), a=[10.0])
    phone_.to_the_end()
    assert len(phone_.runs) == 2 * max(rounds, LEAST_PROCESSES), "equal values would have ended it after two"


def test_many_repetitions_in_one_process_do_not_stand_for_processes() -> None:
    phone_ = Measures(Protocol(repetitions=50, until=0.02), a=STEADY)
    phone_.to_the_end()
    assert len(phone_.runs) == 2 * LEAST_PROCESSES


def test_what_is_not_believed_makes_nothing_surer_and_costs_as_much() -> None:
    phone_ = Measures(Protocol(repetitions=3, rounds=5, until=0.02, budget_s=12), a=STEADY)
    phone_.job(), phone_.job()
    runs = phone_.runs
    hot = due(phone_.order, runs, believed=lambda run: False)
    assert [turn.round for turn in hot] == [5, 5]
    assert due(phone_.order, runs) == []
    one_rejected = due(phone_.order, runs, believed=lambda run: run.round != 3)
    assert [turn.round for turn in one_rejected] == [5, 5], "four that count are too few"
    spent = [run.model_copy(update={"wall_s": 2.4}) for run in runs]
    assert due(phone_.order, spent, believed=lambda run: False) == []


def test_one_repetition_in_each_process_is_enough_for_an_interval() -> None:
    phone_ = Measures(Protocol(repetitions=1, until=0.1), a=STEADY)
    phone_.to_the_end()
    assert [len(turns) for turns in phone_.jobs] == [2] * LEAST_PROCESSES


def test_what_is_kept_up_comes_last_and_takes_its_repetitions_from_its_burst() -> None:
    burst = Test(n_gen=8)
    sustained = burst.model_copy(update={"sustained_s": 60})
    phone_ = Measures(Protocol(repetitions=3, rounds=3), [burst, sustained], a=STEADY)
    phone_.to_the_end()
    *before, last = phone_.jobs
    assert [{turn.cell.test.sustained_s for turn in turns} for turns in before] == [{0}, {0}]
    assert {turn.cell.test.sustained_s for turn in last} == {60}
    assert {turn.round for turn in last} == {0}
    assert {turn.repetitions for turn in last} == {76}  # of 8 tokens each, at 10.01 tokens/s: 60 s and a little


def test_what_has_no_burst_is_not_kept_up() -> None:
    burst = Test(n_gen=8)
    phone_ = Measures(Protocol(repetitions=3), [burst, burst.model_copy(update={"sustained_s": 60})], a=())
    phone_.to_the_end()
    assert [len(turns) for turns in phone_.jobs] == [2]


@pytest.mark.parametrize(("rounds", "repetitions", "asked"), [(1, 3, 3), (2, 3, 3), (5, 2, 5)])
def test_a_prompt_is_asked_once_in_each_of_as_many_processes(rounds: int, repetitions: int, asked: int) -> None:
    phone_ = Measures(Protocol(repetitions=repetitions, rounds=rounds), [Test(prompt="hi", n_gen=8)], a=STEADY)
    phone_.to_the_end()
    first, others = phone_.jobs
    assert (len(first), len(others)) == (2, 2 * (asked - 1))
    assert {turn.repetitions for turn in [*first, *others]} == {1}, "however soon the answer was there"


def test_a_cell_is_a_cell_whatever_it_was_read_from() -> None:
    cell = next(Measures(Protocol(repetitions=3), a=STEADY).plan.cells())
    assert {cell: 1}[Cell.model_validate_json(cell.model_dump_json())] == 1


def test_finished_is_what_was_measured_and_has_no_turn_to_come() -> None:
    long = Test(n_gen=8, sustained_s=60)
    phone_ = Measures(Protocol(repetitions=3, rounds=5, until=0.02), [long.burst, long], steady=STEADY, noisy=NOISY)
    assert finished(phone_.order, []) == set()
    phone_.job()
    assert finished(phone_.order, phone_.runs) == set(), "each lacks rounds"
    phone_.job()
    both = finished(phone_.order, phone_.runs)
    assert {(cell.model, cell.test) for cell in both} == {("steady", long.burst)}, "the noisy one is too vague"
    failed = [run.model_copy(update={"failure": "killed"}) for run in phone_.runs]
    assert finished(phone_.order, failed) == set()
    phone_.to_the_end()
    assert finished(phone_.order, phone_.runs) >= {cell for _, cell in phone_.order.cells if cell.test == long}
