"""Which of equal phones measures which cells of a plan that they share."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from smoothdroid.device.info.phone import Phone
from smoothdroid.host.results.cell import PROTOCOL_VERSION, Cell
from smoothdroid.host.results.plan import Plan

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


def identity(plan: Plan, phone: Phone, transport: str, build_id: str) -> str:
    """The same for equal phones: model, SoC, transport, build and cells."""
    asked = plan.model_dump_json(exclude={"models"}, exclude_defaults=True)
    models = sorted(model.sha256 for model in plan.models)
    facts = json.dumps([PROTOCOL_VERSION, phone.model, phone.soc, transport, build_id, models, asked])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


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
        self._heed = heed
        self._changed = threading.Condition()
        self._left = {number: list(unit.cells) for number, unit in enumerate(units(plan))}
        """Of each unit, in the order in which they are given away, what is not done; no unit of which all is."""
        self._held: dict[int, str] = {}
        """Units in a phone's hands."""
        self._forget(done)

    @property
    def free(self) -> int:
        """Cells in nobody's hands."""
        with self._changed:
            return sum(len(cells) for number, cells in self._left.items() if number not in self._held)

    def release(self, phone: str) -> None:
        """What this phone holds may be another's."""
        with self._changed:
            self._held = {number: who for number, who in self._held.items() if who != phone}
            self._changed.notify_all()

    def units(self, phone: str, finished: Collection[Cell]) -> Iterator[Collection[Cell]]:
        """See Shared.units. What was given and came back is done; while others hold the rest, it waits."""
        with self._changed:
            self._forget(finished)
        while taken := self._take(phone):
            number, cells = taken
            yield cells
            with self._changed:
                self._left.pop(number, None)
                self._held.pop(number, None)
                self._changed.notify_all()

    def _take(self, phone: str) -> tuple[int, list[Cell]] | None:
        with self._changed:
            while self._left:
                self._heed()
                for number, cells in self._left.items():
                    if number not in self._held:
                        self._held[number] = phone
                        return number, cells
                self._changed.wait(LOOK_S)
        return None

    def _forget(self, done: Collection[Cell]) -> None:
        if done:
            left = {number: [cell for cell in cells if cell not in done] for number, cells in self._left.items()}
            self._left = {number: cells for number, cells in left.items() if cells}


@dataclass(frozen=True)
class PhoneShare:
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
