"""One benchmark on one or many phones: a thread for each phone, and no phone waits for another.

A phone that cannot be reached or is busy is retried for as long as another one measures.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from smoothdroid.device.common.errors import NoPhone, PhoneBusy, SmoothdroidError, TargetLost, TargetTimeout
from smoothdroid.host.common.threads import Worker
from smoothdroid.host.farm.bench_call import LOOK_S, BenchCall
from smoothdroid.host.farm.member import Member, PhoneResult
from smoothdroid.host.farm.phone_work import PhoneWork, Unexpected
from smoothdroid.host.farm.progress_table import ProgressRow

RETRY_S = 15.0
LAST_WORDS_S = 60.0  # for ending what phones measure, after Ctrl-C
WORTH_A_RETRY = (TargetLost, TargetTimeout, NoPhone, PhoneBusy)


class Coordinator:
    """Measures a plan on phones, each in a thread of its own."""

    def __init__(
        self, members: Sequence[Member], rows: Sequence[ProgressRow], call: BenchCall, *, retry_s: float = RETRY_S
    ) -> None:
        """`rows` has one row for each member; what becomes of a phone is written there while it runs."""
        self._call, self._retry_s = call, retry_s
        self._phones = [PhoneWork(member, row) for member, row in zip(members, rows, strict=True)]
        self._lock = threading.Lock()
        self._working = len(members)
        """Phones that measure or wait for their own phone, not for a retry."""

    def run(self) -> list[PhoneResult]:
        """Measure on all phones; return when each is done or given up. Ctrl-C ends the jobs on all of them."""
        threads = [Worker(partial(self._work, phone), phone.member.name) for phone in self._phones]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while not thread.ended.wait(LOOK_S):
                    pass
        except KeyboardInterrupt:
            self._stop(threads)
            raise
        return [phone.result for phone in self._phones]

    def _stop(self, threads: Sequence[Worker]) -> None:
        """End the jobs on the phones. A thread without a job, which may hash a large model, is not waited for."""
        self._call.stop()
        held = [(phone, thread) for phone, thread in zip(self._phones, threads, strict=True) if phone.holds_phone]
        helpers = [Worker(phone.interrupt) for phone, _ in held]
        for helper in helpers:
            helper.start()
        for thread in [*helpers, *(thread for _, thread in held)]:
            thread.ended.wait(LAST_WORDS_S)

    def _work(self, phone: PhoneWork) -> None:
        """Do one phone's part; the body of its thread."""
        row, result = phone.row, phone.result
        try:
            self._measure_with_retries(phone)
        except KeyboardInterrupt:
            row.now = "stopped"
        except Exception as error:
            row.now = "given up"
            result.error = error if isinstance(error, SmoothdroidError) else Unexpected(error)
            self._call.display.given_up(row.name, result.error)
        finally:
            self._call.release_cells(row.name)
            with self._lock:
                self._working -= 1

    def _measure_with_retries(self, phone: PhoneWork) -> None:
        while True:
            try:
                phone.measure(self._call)
                return
            except WORTH_A_RETRY as error:
                self._call.release_cells(phone.row.name)
                if not self._others_work():
                    raise
                phone.row.now = "unreachable; will retry"
                self._call.display.retrying(phone.row.name, error)
                with self._not_working():
                    self._call.pause(self._retry_s)

    def _others_work(self) -> bool:
        with self._lock:
            return self._working > 1

    @contextmanager
    def _not_working(self) -> Iterator[None]:
        with self._lock:
            self._working -= 1
        try:
            yield
        finally:
            with self._lock:
                self._working += 1
