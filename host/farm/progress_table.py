"""How far each phone of a farm is: what the live table shows."""

from __future__ import annotations

from dataclasses import dataclass

from smoothdroid.device.info.phone import Phone
from smoothdroid.host.results.record import Run

LONGEST_SOC = 40
COLUMNS = ["phone", "SoC", "hottest", "now", "done", "left", "time left"]


@dataclass
class ProgressRow:
    """One phone; only its own thread writes here."""

    name: str
    phone: Phone | None = None
    celsius: float | None = None
    """Of the hottest zone, when last seen: before the first cell, then at the end of each."""
    now: str = "connecting"
    done: int = 0
    failed: int = 0
    left: int | None = None
    """In its own hands; None before that is known."""
    shared: int = 0
    """Left to whichever equal phone comes first."""
    spent_s: float = 0.0

    def described(self, phone: Phone) -> None:
        """The phone answered."""
        self.phone, self.celsius = phone, max(phone.celsius.values(), default=None)

    def ended(self, run: Run) -> None:
        """A cell did."""
        self.done += 1
        self.failed += run.failure is not None
        self.left = max((self.left or 0) - 1, 0)
        self.spent_s += run.wall_s + (run.waited.seconds if run.waited else 0)

    @property
    def left_s(self) -> float | None:
        """For what is in its own hands, if that goes on as it went; None before the first cell ended."""
        return self.spent_s / self.done * self.left if self.done and self.left is not None else None

    def cells(self) -> list[str]:
        """For COLUMNS."""
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
