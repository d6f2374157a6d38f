"""The input and the output of a check: a measured cell with its observations, and a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smoothdroid.device.telemetry.samples import Observation


@dataclass(frozen=True)
class Measured:
    """A cell as it was requested, and as it was measured."""

    tokens_per_s: Sequence[float]
    """One value for each repetition, in order; at least one."""
    threads: int
    observation: Observation = field(default_factory=Observation)
    whole: Observation | None = None
    """The observation with loading and warm-up, where it is known."""
    timed_s: float | None = None
    """The time that the repetitions took."""
    cpus: Sequence[int] | None = None
    """The requested mask; None without one."""
    soc: str = ""
    """The SoC's name, as the phone reports it."""
    bytes_per_token: int | None = None
    """Bytes of weights that each decoded token reads, all of them in a dense model; None for prefill, which reads them
    once for a whole batch."""
    neighbours: Mapping[int, float] = field(default_factory=dict)
    """Tokens/s at other thread counts, all else alike."""
    rounds: Sequence[Sequence[float]] = ()
    """Tokens/s of the repetitions, one list for each process."""


@dataclass(frozen=True)
class Finding:
    """A problem that a check found, or a remark."""

    check: str
    found: str
    advice: str
    invalid: bool = True
    """The cell's tokens/s do not count; False for a remark."""

    def __str__(self) -> str:
        """Return the finding and its advice in one line."""
        return f"{self.check}: {self.found}; {self.advice}"
