"""The result of one check: something that commands need, and its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """The state of one thing that commands need."""

    what: str
    state: State
    """`ok`, `warning` for something that works with a restriction, or `missing`."""
    found: str
    fix: str = ""
    """The command or action that fixes it; empty where nothing needs fixing."""
    needed_for: tuple[str, ...] = ()
    """The commands that need it; empty for all commands."""
    optional: bool = False
    """True for something that most users do not need."""


def are_met(checks: Sequence[Check], command: str | None = None) -> bool:
    """Return True when nothing required is missing; with `command`, its optional requirements count too."""
    return not any(check.state == "missing" and (command or not check.optional) for check in checks)
