"""A phone that takes part in a benchmark, and the result of its part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.campaign import CampaignResult
from smoothdroid.host.results.record import Run


@dataclass(frozen=True)
class Member:
    """A phone of a farm."""

    name: str
    """The name that people use: its target, or its name in the inventory."""
    on: str
    """The phone's target."""
    open: Callable[[], Target]
    labels: Sequence[str] = ()
    models: Sequence[str] = ("*",)
    """Patterns of the names of models that it may run."""


@dataclass
class PhoneResult:
    """The result of one phone's part of a benchmark."""

    member: Member
    phone: Phone | None = None
    campaign: CampaignResult | None = None
    runs: list[Run] = field(default_factory=list)
    """The runs of this call, from all attempts."""
    nothing_to_do: str = ""
    """The reason why the phone had nothing to measure."""
    error: SmoothdroidError | None = None

    @property
    def failed(self) -> int:
        """The number of runs that failed."""
        return sum(run.failure is not None for run in self.runs)
