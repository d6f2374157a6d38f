"""A connection to a phone that is opened again when the phone was lost, and that another thread can interrupt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from smoothdroid.device.common.errors import TargetLost, TargetTimeout, Unreachable
from smoothdroid.device.transport.target import Target

FIRST_PAUSE_S = 0.5  # between two attempts to reach a lost phone; each pause is twice the one before
LONGEST_PAUSE_S = 8.0
STOP_PATIENCE_S = 30.0  # the wait for a lost phone on which a job is to be stopped
INTERRUPT_POLL_S = 0.2  # an interrupt is noticed this soon during a pause

T = TypeVar("T")


class Connection:
    """A connection to one phone; a lost phone is waited for where `reopen` is given, `patience_s` each time."""

    def __init__(self, target: Target, reopen: Callable[[], Target] | None, patience_s: float) -> None:
        """Use `target` until it is lost; from then on the targets that `reopen` returns."""
        self.target = self._first = target
        self._reopen = reopen
        self._patience_s = patience_s
        self._stopping = False
        self.interrupted = threading.Event()
        """Set by another thread to have KeyboardInterrupt raised in the thread that uses this connection."""

    def close(self) -> None:
        """Close the connection, if it was opened here."""
        if self.target is not self._first:
            self.target.close()

    def retry(self, do: Callable[[Target], T]) -> T:
        """Do what may be done twice; when the phone was lost meanwhile, do it once more on a new connection.

        Raises a permanent refusal, such as a plain NoPhone, at once; TargetLost after `patience_s` without the phone.
        """
        deadline, pause, opened_at = 0.0, 0.0, time.monotonic()
        while True:
            try:
                return do(self.target)
            except (TargetLost, TargetTimeout) as error:
                if self._reopen is None:
                    raise
                now = time.monotonic()
                if not deadline or now - opened_at > self._patience_s:  # the phone had been back for long
                    deadline, pause = now + self._patience_s, 0.0
                # A connection that opens and breaks at once is not opened again without a pause.
                self._rest(pause, deadline)
                pause = min(pause * 2 or FIRST_PAUSE_S, LONGEST_PAUSE_S)
                self._await_phone(self._reopen, deadline, error)
                opened_at = time.monotonic()

    def check_interrupt(self) -> None:
        """Raise KeyboardInterrupt when another thread asked for it, unless a job is being stopped."""
        if self.interrupted.is_set() and not self._stopping:
            raise KeyboardInterrupt

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Ignore interrupts while a job is stopped, and wait for a lost phone no longer than STOP_PATIENCE_S."""
        patience_s, self._stopping = self._patience_s, True
        self._patience_s = min(patience_s, STOP_PATIENCE_S)
        try:
            yield
        finally:
            self._patience_s, self._stopping = patience_s, False

    def _await_phone(self, reopen: Callable[[], Target], deadline: float, lost: TargetLost | TargetTimeout) -> None:
        """Open a new connection. Raises TargetLost, with the last obstacle, when none opens in time."""
        self.target.close()
        obstacle, pause = "", FIRST_PAUSE_S
        while time.monotonic() < deadline:
            self.check_interrupt()
            try:
                self.target = reopen()
                return
            except (Unreachable, TargetLost, TargetTimeout) as error:
                obstacle = f"; the last attempt: {error}"
            self._rest(pause, deadline)
            pause = min(pause * 2, LONGEST_PAUSE_S)
        raise TargetLost(
            f"{lost}. It was not back within {self._patience_s:.0f} s{obstacle}. Its job continues by itself; run the "
            "same command again to collect the results"
        ) from lost

    def _rest(self, pause_s: float, deadline: float) -> None:
        """Wait until the pause or the deadline ends, or somebody interrupts."""
        until = min(time.monotonic() + pause_s, deadline)
        self.check_interrupt()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, INTERRUPT_POLL_S))
            self.check_interrupt()
