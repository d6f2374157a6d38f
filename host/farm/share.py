"""Which of equal phones measures which cells of a plan that they share."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from device.phone import Phone
from host.bench.cell import Cell
from host.bench.plan import Plan

PREFILL_PER_DECODE = 8  # tokens of prefill in the time of one of decode, about: for an order, not for a figure
BYTES_PER_S = 20e9  # about what a phone's decode reads: for the same
LOOK_S = 0.5  # how soon a phone that waits for another's cells hears of Ctrl-C


@dataclass(frozen=True)
class Unit:
    """Cells that one phone measures: those that differ in the model only, and what is kept up beside its burst.

    Two models on two phones would tell of the phones.
    """

    cells: tuple[Cell, ...]
    seconds: float
    """About; only to have the longest begun first."""


@dataclass(frozen=True)
class State:
    """Of a plan that is shared."""

    units: tuple[Unit, ...]
    """In the order in which they are given away."""
    held: Mapping[Unit, str] = field(default_factory=dict)
    """By which phone."""
    done: frozenset[Cell] = frozenset()

    def next(self) -> tuple[Unit, list[Cell]] | None:
        """What a phone that asks should measure now; nothing when all that is left is in other hands."""
        for unit in self.units:
            if unit not in self.held and (left := self.left(unit)):
                return unit, left
        return None

    def left(self, unit: Unit) -> list[Cell]:
        """What is not done of a unit."""
        return [cell for cell in unit.cells if cell not in self.done]

    @property
    def free(self) -> int:
        """Cells in nobody's hands."""
        return sum(len(self.left(unit)) for unit in self.units if unit not in self.held)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return not any(self.left(unit) for unit in self.units)


def identity(plan: Plan, phone: Phone, way: str, build_id: str) -> str:
    """The same for equal phones: model, SoC, way, build and cells."""
    cells = sorted(cell.fingerprint("", way, build_id) for cell in plan.cells())
    return hashlib.sha256(" ".join([phone.model, phone.soc, *cells]).encode()).hexdigest()[:16]


def units(plan: Plan) -> tuple[Unit, ...]:
    """A plan in pieces for sharing, the longest first, so that nobody begins one when the others are at their end."""
    sizes = {model.sha256: model.size_bytes for model in plan.models}
    settings: dict[Cell, list[Cell]] = {}
    for cell in plan.turns(0):
        settings.setdefault(cell.burst.model_copy(update={"model": "", "model_sha256": ""}), []).append(cell)
    made = [
        Unit(tuple(cells), sum(_seconds(cell, sizes[cell.model_sha256]) for cell in cells))
        for cells in settings.values()
    ]
    return tuple(sorted(made, key=lambda unit: -unit.seconds))


def _seconds(cell: Cell, size_bytes: int) -> float:
    if cell.test.sustained_s:
        return cell.test.sustained_s
    prefill = (cell.test.n_prompt + cell.options.depth + len(cell.test.prompt.split())) / PREFILL_PER_DECODE
    repetitions = cell.rounds if cell.test.prompt else cell.rounds * cell.protocol.repetitions
    return repetitions * (prefill + cell.test.n_gen) * size_bytes / BYTES_PER_S / cell.threads


class Pool:
    """A plan that equal phones share; each takes from it in a thread of its own."""

    def __init__(self, plan: Plan, id: str, done: Collection[Cell], heed: Callable[[], None]) -> None:
        """`heed` raises when the work is to end."""
        self.id = id
        self._state = State(units(plan), done=frozenset(done))
        self._heed = heed
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Cells in nobody's hands."""
        return self._state.free

    def release(self, phone: str) -> None:
        """What this phone holds may be another's."""
        with self._changed:
            held = {unit: who for unit, who in self._state.held.items() if who != phone}
            self._set(held, self._state.done)

    def units(self, phone: str, finished: Iterable[Cell]) -> Iterator[Collection[Cell]]:
        """See Shared.units. What was given and came back is done; while others hold the rest, it waits."""
        with self._changed:
            self._set(self._state.held, self._state.done.union(finished))
        while taken := self._take(phone):
            unit, cells = taken
            yield cells
            with self._changed:
                held = {other: who for other, who in self._state.held.items() if other != unit}
                self._set(held, self._state.done.union(cells))

    def _take(self, phone: str) -> tuple[Unit, list[Cell]] | None:
        with self._changed:
            while not self._state.over:
                self._heed()
                if found := self._state.next():
                    self._set({**self._state.held, found[0]: phone}, self._state.done)
                    return found
                self._changed.wait(LOOK_S)
        return None

    def _set(self, held: Mapping[Unit, str], done: frozenset[Cell]) -> None:
        self._state = State(self._state.units, held, done)
        self._changed.notify_all()


@dataclass(frozen=True)
class Part:
    """A pool as one phone sees it."""

    pool: Pool
    phone: str

    @property
    def id(self) -> str:
        """See Shared.id."""
        return self.pool.id

    def units(self, finished: Collection[Cell]) -> Iterator[Collection[Cell]]:
        """See Shared.units."""
        return self.pool.units(self.phone, finished)
