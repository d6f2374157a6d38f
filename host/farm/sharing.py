"""The plan that equal phones share: units of cells, and the phone that measures each."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from smoothdroid.device.info.phone import Phone
from smoothdroid.host.results.cell import PROTOCOL_VERSION, Cell
from smoothdroid.host.results.plan import Plan

PREFILL_PER_DECODE = 8  # rough number of prefill tokens in the time of one decoded token; used only to order units
BYTES_PER_S = 20e9  # rough rate at which decode reads weights; used only to order units
LOOK_S = 0.5  # how soon a phone that waits for another's cells notices Ctrl-C


@dataclass(frozen=True)
class Unit:
    """Cells that one phone measures together: those that differ in the model only, and a sustained cell with its burst.

    A comparison of two models on two phones would compare the phones.
    """

    cells: tuple[Cell, ...]
    seconds: float
    """A rough estimate, used only to begin the longest unit first."""


def identity(plan: Plan, phone: Phone, transport: str, build_id: str) -> str:
    """Return an id that equal phones have in common: a hash of model, SoC, transport, build and cells."""
    options = plan.model_dump_json(exclude={"models"}, exclude_defaults=True)
    models = sorted(model.sha256 for model in plan.models)
    facts = json.dumps([PROTOCOL_VERSION, phone.model, phone.soc, transport, build_id, models, options])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def units(plan: Plan) -> tuple[Unit, ...]:
    """Return a plan as units, the longest first, so that no phone begins a long one when the others finish."""
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
    """A plan that equal phones share; each phone's thread takes units from it."""

    def __init__(self, plan: Plan, id: str, done: Collection[Cell], check_stopped: Callable[[], None]) -> None:
        """Take the units of `plan` without the cells `done`; `check_stopped` raises when the benchmark is to end."""
        self.id = id
        self._check_stopped = check_stopped
        self._changed = threading.Condition()
        self._left = {number: list(unit.cells) for number, unit in enumerate(units(plan))}
        """The cells left of each unit, in the order in which units are given away; finished units are not in it."""
        self._held: dict[int, str] = {}
        """The phone that holds each unit that is being measured."""
        self._forget(done)

    @property
    def free(self) -> int:
        """The number of cells that no phone holds."""
        with self._changed:
            return sum(len(cells) for number, cells in self._left.items() if number not in self._held)

    def release(self, phone: str) -> None:
        """Give back the units that a phone holds, so that others can measure them."""
        with self._changed:
            self._held = {number: who for number, who in self._held.items() if who != phone}
            self._changed.notify_all()

    def units(self, phone: str, finished: Collection[Cell]) -> Iterator[Collection[Cell]]:
        """Yield units as Shared.units does; asking for the next finishes a unit. Wait while others hold the rest."""
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
                self._check_stopped()
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
    """One phone's view of a pool; implements Shared."""

    pool: Pool
    phone: str

    @property
    def id(self) -> str:
        """The id of the shared plan."""
        return self.pool.id

    def units(self, finished: Collection[Cell]) -> Iterator[Collection[Cell]]:
        """Yield the units of cells left to this phone."""
        return self.pool.units(self.phone, finished)
