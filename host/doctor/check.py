"""One thing that commands need, and how it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """One thing that some command needs."""

    what: str
    state: State
    """`warning`: it works, and something about it is worth knowing."""
    found: str
    mend: str = ""
    """What to do, where there is something to do."""
    needed_for: tuple[str, ...] = ()
    """Commands; none: all of them."""
    optional: bool = False
    """Many get along without."""


def are_met(checks: Sequence[Check], command: str | None = None) -> bool:
    """Is nothing missing that must be there? What is optional must be there for the command that needs it."""
    return not any(check.state == "missing" and (command or not check.optional) for check in checks)
