"""Waits for events that a test causes and that nothing reports to it."""

from __future__ import annotations

import time
from collections.abc import Callable

GIVE_UP_S = 300.0
"""A guard against a test that hangs, far above what a busy machine takes."""


def eventually(true: Callable[[], object], what: object = "it did not happen", within_s: float = GIVE_UP_S) -> None:
    """Wait until `true` returns something true. Fails with `what` when it does not."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
