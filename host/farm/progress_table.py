"""The live progress table of a benchmark: one row for each phone."""

from __future__ import annotations

from dataclasses import dataclass

from smoothdroid.device.info.phone import Phone
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.record import Run

LONGEST_SOC = 40
COLUMNS = ["phone", "SoC", "hottest", "now", "done", "left", "time left"]


@dataclass
class ProgressRow:
    """One phone's row; only the phone's own thread writes here."""

    name: str
    phone: Phone | None = None
    celsius: float | None = None
    """The temperature of the hottest zone, before the first cell or at the end of the last one."""
    now: str = "connecting"
    done: int = 0
    """Runs that ended, measured or failed."""
    failed: int = 0
    left: int | None = None
    """Runs left to this phone alone; None before that is known."""
    shared: int = 0
    """Cells left to whichever equal phone comes first."""
    spent_s: float = 0.0

    def described(self, phone: Phone) -> None:
        """Take over what the phone reports about itself."""
        self.phone, self.celsius = phone, max(phone.celsius.values(), default=None)

    def begins(self, cell: Cell, left: int, shared: int) -> None:
        """Show a cell that begins, with the runs left to this phone and the cells left to all equal phones."""
        settings = f", {cell.options}" if str(cell.options) else ""
        self.now = f"{cell.model} {cell.test.name}, {cell.threads_label}{settings}"
        self.left, self.shared = left, shared

    def ended(self, run: Run) -> None:
        """Count a run that ended."""
        self.done += 1
        self.failed += run.failure is not None
        self.left = max((self.left or 0) - 1, 0)
        self.spent_s += run.wall_s + (run.waited.seconds if run.waited else 0)

    def measured_celsius(self, hottest: float) -> None:
        """Show the temperature of the phone's hottest zone."""
        self.celsius = hottest

    @property
    def left_s(self) -> float | None:
        """The estimated time for the runs left to this phone; None before the first run ended."""
        return self.spent_s / self.done * self.left if self.done and self.left is not None else None

    def cells(self) -> list[str]:
        """Return the row's text for each of COLUMNS."""
        failed = f" ({self.failed} failed)" if self.failed else ""
        shared = f" + {self.shared} shared" if self.shared else ""
        left_s = self.left_s
        return [
            self.name,
            self.phone.soc[:LONGEST_SOC] if self.phone else "-",
            "-" if self.celsius is None else f"{self.celsius:.0f} °C",
            self.now,
            f"{self.done}{failed}",
            "-" if self.left is None else f"{self.left}{shared}",
            "-" if left_s is None else f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s",
        ]
