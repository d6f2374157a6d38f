"""Threads that a person's Ctrl-C finds waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker(threading.Thread):
    """A daemon that tells when it has ended.

    Not by join(): of a join() that Ctrl-C interrupts, Python before 3.13 takes the thread to have ended.
    """

    def __init__(self, do: Callable[[], object], name: str | None = None) -> None:
        super().__init__(target=do, name=name, daemon=True)
        self.ended = threading.Event()

    def run(self) -> None:
        """See Thread.run."""
        try:
            super().run()
        finally:
            self.ended.set()
