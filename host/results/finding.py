"""What a verdict is made of: a cell with all that was seen of it, and what a check found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smoothdroid.device.telemetry.samples import Observation


@dataclass(frozen=True)
class Measured:
    """A cell, as it was asked for and as it came out."""

    tokens_per_s: Sequence[float]
    """One value a repetition, in their order; at least one."""
    threads: int
    observation: Observation = field(default_factory=Observation)
    whole: Observation | None = None
    """The observation with loading and warm-up, where it is known."""
    timed_s: float | None = None
    """How long the repetitions took."""
    cpus: Sequence[int] | None = None
    """The mask that was asked for; None: no mask."""
    soc: str = ""
    """As the phone calls it."""
    bytes_per_token: int | None = None
    """Decode: bytes of weights that each token reads, all of them in a dense model. None: prefill, which reads them
    once for a whole batch."""
    neighbours: Mapping[int, float] = field(default_factory=dict)
    """Tokens/s at other thread counts, all else alike."""
    rounds: Sequence[Sequence[float]] = ()
    """Tokens/s of the repetitions, one list a process."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    found: str
    advice: str
    invalid: bool = True
    """The cell's tokens/s are not to be believed; else a remark."""

    def __str__(self) -> str:
        return f"{self.check}: {self.found}; {self.advice}"
