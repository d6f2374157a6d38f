"""The schedule of a campaign: slots that are missing, rounds that narrow an interval, sustained cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Run
from smoothdroid.host.results.statistics import interval

MOST_ROUNDS = 100  # an interval that a hundred processes do not narrow will not get narrower

LEAST_PROCESSES = 5
"""The number of processes before `until` may end a cell. An interval that happens to be narrow ends it too early, and
the fewer processes, the more often that happens (`until_coverage` of `python -m benchmarks.coverage`)."""

SAMPLED_S = 3.0
"""The shortest time in seconds for the repetitions of a process. The phone is sampled once a second, and a process
without samples shows neither heat nor clocks."""

MOST_REPETITIONS = 1000  # whatever rate a phone reports


@dataclass(frozen=True)
class Slot:
    """One process of one cell: a cell's place in a round."""

    fingerprint: str
    cell: Cell
    round: int
    repetitions: int

    @property
    def task(self) -> str:
        """The name of its task in a job on the phone."""
        return task(self.fingerprint, self.round)


def task(fingerprint: str, number: int) -> str:
    """Return the name of a slot's task in a job on the phone."""
    return f"{fingerprint}-{number}"


class Order:
    """The order of a plan's cells in each round, with their fingerprints; made once, used after every job."""

    def __init__(self, plan: Plan, names: Mapping[Cell, str]) -> None:
        """Order the cells of `plan`; `names` has the fingerprint of each."""
        self._plan, self._names = plan, names
        self.cells = [(names[cell], cell) for cell in plan.cells()]
        """Fingerprints and cells, in the order of a table."""
        self.bursts = {name: names.get(cell.burst, "") for name, cell in self.cells if cell.test.sustained_s}
        """The fingerprint of each sustained cell, and that of its burst."""
        self.rounds = [self._round(number) for number in range(max(cell.rounds for _, cell in self.cells))]

    def _round(self, number: int) -> list[tuple[str, Cell]]:
        return [
            (self._names[cell], cell)
            for cell in self._plan.turns(number)
            if number < cell.rounds and not cell.test.sustained_s
        ]


def due(
    order: Order,
    runs: Sequence[Run],
    given_up: Collection[str] = (),
    believed: Callable[[Run], bool] = lambda run: True,
) -> list[Slot]:
    """Return the slots to measure next, in order; none when all is done.

    First comes round 0 of every cell, which shows how fast it is, then the other rounds. When none is missing, each
    cell whose interval is wider than `until` gets one more. Sustained cells come last: they need the rate of their
    burst and leave the phone hot. A cell whose fingerprint is in `given_up` gets no slot. A run that is not `believed`
    was measured, but narrows no interval.
    """
    measured = _measured(runs)
    cells = [(name, cell) for name, cell in order.cells if name not in given_up]
    missing = [slot for slot in _missing(order, measured) if slot.fingerprint not in given_up]
    first = [slot for slot in missing if slot.round == 0]
    return first or missing or list(_too_wide(cells, measured, believed)) or list(_sustained(cells, order, measured))


def finished(order: Order, runs: Sequence[Run], believed: Callable[[Run], bool] = lambda run: True) -> set[Cell]:
    """Return the cells that were measured and get no further slot."""
    measured = _measured(runs)
    coming = [*_missing(order, measured), *_too_wide(order.cells, measured, believed)]
    unfinished = {slot.fingerprint for slot in coming}
    return {cell for name, cell in order.cells if name in measured and name not in unfinished}


def _measured(runs: Sequence[Run]) -> dict[str, list[Run]]:
    measured: dict[str, list[Run]] = {}
    for run in runs:
        if run.failure is None:
            measured.setdefault(run.fingerprint, []).append(run)
    return measured


def _missing(order: Order, measured: Mapping[str, Sequence[Run]]) -> Iterator[Slot]:
    done = {(name, run.round) for name, runs in measured.items() for run in runs}
    for number, cells in enumerate(order.rounds):
        for name, cell in cells:
            if (name, number) not in done:
                yield Slot(name, cell, number, _repetitions(cell, measured.get(name, ())))


def _repetitions(cell: Cell, runs: Sequence[Run]) -> int:
    """Return the protocol's number of repetitions, or more where these would not take SAMPLED_S."""
    if cell.test.prompt:
        return 1  # llama-completion answers once in each process
    times = [run.measured_s / len(run.tokens_per_s) for run in runs if run.measured_s > 0]
    enough = math.ceil(SAMPLED_S / max(times)) if times else 1
    return max(cell.protocol.repetitions, min(enough, MOST_REPETITIONS))


def _too_wide(
    cells: Sequence[tuple[str, Cell]], measured: Mapping[str, Sequence[Run]], believed: Callable[[Run], bool]
) -> Iterator[Slot]:
    for name, cell in cells:
        runs, until = measured.get(name, []), cell.protocol.until
        if until is None or cell.test.sustained_s or not runs or len(runs) >= MOST_ROUNDS:
            continue
        means = [run.mean for run in runs if believed(run)]
        narrow = len(means) >= LEAST_PROCESSES and interval(means).half <= until * interval(means).mean
        if not narrow and sum(run.wall_s for run in runs) < cell.protocol.budget_s:
            following = max(run.round for run in runs) + 1
            yield Slot(name, cell, following, _repetitions(cell, runs))


def _sustained(
    cells: Sequence[tuple[str, Cell]], order: Order, measured: Mapping[str, Sequence[Run]]
) -> Iterator[Slot]:
    for name, cell in cells:
        burst = measured.get(order.bursts.get(name, ""), [])
        if cell.test.sustained_s and burst and name not in measured:
            rates = [rate for run in burst for rate in run.tokens_per_s]
            # At the best rate of the burst it would take just this long; a phone that slows down takes longer.
            repetitions = cell.test.sustained_s * max(rates) / (cell.test.n_prompt + cell.test.n_gen)
            yield Slot(name, cell, 0, max(2, math.ceil(repetitions)))
