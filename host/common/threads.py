"""Threads that can be awaited across Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker(threading.Thread):
    """A daemon thread that sets the event `ended` when it has ended.

    join() is unsuitable: before Python 3.13, a join() that Ctrl-C interrupts marks the thread as ended.
    """

    def __init__(self, do: Callable[[], object], name: str | None = None) -> None:
        """Run `do` when started."""
        super().__init__(target=do, name=name, daemon=True)
        self.ended = threading.Event()

    def run(self) -> None:
        """See Thread.run."""
        try:
            super().run()
        finally:
            self.ended.set()
