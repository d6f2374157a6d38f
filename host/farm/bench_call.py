"""The state that the phones of one benchmark share: request, models, shared plans, and who measures which phone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.campaign import finished
from smoothdroid.host.bench.request import Request, model_files
from smoothdroid.host.farm.member import Member
from smoothdroid.host.farm.sharing import PhoneShare, Pool, identity
from smoothdroid.host.gguf import artifact
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Run, campaigns_below, read_campaign

LOOK_S = 0.2  # how soon a phone's thread that waits for another one notices Ctrl-C

BuildProvider = Callable[[Target, Phone], Binaries]
"""Returns the build for a phone. Raises BadInput when there is none."""


class Display:
    """The live output of a benchmark, called from the phones' threads. This one shows nothing."""

    def step(self, phone: str, text: str) -> None:
        """Show what a phone does now."""

    def sending(self, phone: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of a file are on a phone."""

    def cell_begins(self, phone: str, cell: Cell, number: int, total: int) -> None:
        """Show that a phone begins a cell, the `number`th (from 1) of `total` that it has to measure."""

    def run_ended(self, phone: str, run: Run) -> None:
        """Show a run that ended, measured or failed."""

    def warning(self, phone: str, text: str) -> None:
        """Show what a reader of the results must know."""

    def retrying(self, phone: str, error: Exception) -> None:
        """Show that a phone cannot be reached and is tried again while others measure."""

    def given_up(self, phone: str, error: Exception) -> None:
        """Show that a phone's part ended with an error."""


@dataclass
class BenchCall:
    """One benchmark on one or many phones: its settings, and what the phones' threads share."""

    request: Request
    results: Path
    builds: BuildProvider
    display: Display = field(default_factory=Display)
    share: bool = False
    """Equal phones share the cells, instead of each measuring all."""
    force: bool = False
    """Try cells that do not fit in a phone's memory."""
    patience_s: float = 120.0
    """How long a lost phone is waited for."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _models_lock: threading.Lock = field(default_factory=threading.Lock)
    _models: dict[Path, Artifact] = field(default_factory=dict)
    _pools: dict[str, Pool] = field(default_factory=dict)
    _phones: dict[str, threading.Lock] = field(default_factory=dict)
    _marks: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def stop(self) -> None:
        """Make `check_stopped` raise from now on."""
        self._stopping.set()

    def check_stopped(self) -> None:
        """Raise KeyboardInterrupt when the benchmark is to end."""
        if self._stopping.is_set():
            raise KeyboardInterrupt

    def pause(self, seconds: float) -> None:
        """Wait for that long; raise KeyboardInterrupt as soon as the benchmark is to end."""
        self._stopping.wait(seconds)
        self.check_stopped()

    def models_for(self, request: Request, member: Member) -> list[Artifact]:
        """Return the models of a request that a phone may run; each file is hashed once for all phones."""
        models = []
        for path in model_files(request.models):
            if not any(fnmatchcase(path.stem, pattern) for pattern in member.models):
                continue
            with self._models_lock:
                self.check_stopped()
                if path not in self._models:
                    self._models[path] = artifact.inspect(path, on_step=partial(self.display.step, member.name))
                models.append(self._models[path])
        return models

    def refuse_same_serial(self, target: Target, phone: Phone) -> None:
        """Raise BadInput for a phone with another one's serial number: it would be given the other's results."""
        place = phone.id, target.kind, target.root  # where one phone has one mark
        with self._lock:
            known = self._marks.setdefault(place, phone.mark)
        if known and phone.mark and known != phone.mark:
            raise BadInput(
                f"{target.name}: another phone of this call has the same serial number as this {phone.model}, so their "
                "results cannot be told apart. Measure one at a time, each into a results folder of its own (-o)"
            )

    @contextmanager
    def alone(self, phone: Phone, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold a phone, so that two transports to it measure one after the other."""
        with self._lock:
            lock = self._phones.setdefault(phone.id, threading.Lock())
        while not lock.acquire(timeout=LOOK_S):
            on_wait()
            self.check_stopped()
        try:
            yield
        finally:
            lock.release()

    def share_of(self, plan: Plan, phone: Phone, target: Target, binaries: Binaries, name: str) -> PhoneShare | None:
        """Return a phone's share of a plan that equal phones share; None when each phone measures all."""
        if not self.share:
            return None
        id = identity(plan, phone, target.kind, binaries.id)
        with self._lock:
            if id not in self._pools:
                self._pools[id] = Pool(plan, id, self._measured_before(id, name), self.check_stopped)
            return PhoneShare(self._pools[id], name)

    def release_cells(self, name: str) -> None:
        """Let other phones measure the cells that a phone holds."""
        for pool in list(self._pools.values()):
            pool.release(name)

    def _measured_before(self, share: str, name: str) -> set[Cell]:
        """Return the cells that equal phones, also absent ones, have measured; a damaged record counts for none."""
        cells: set[Cell] = set()
        for folder in sorted(campaigns_below(self.results)):
            try:
                if read_campaign(folder).share == share:
                    cells |= finished(folder)
            except (BadInput, OSError) as error:
                self.display.warning(name, f"left out: {error}")
        return cells
