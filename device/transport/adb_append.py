"""The rest of a file, over adb, to the end of what the phone has of it.

As a stream to a shell: at a cut, adbd removes what its sync protocol got. By the shell protocol: a shell without it
(`exec:`) is fed through a terminal, some kilobytes at a time.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

from smoothdroid.device.transport.adb_library import adbutils
from smoothdroid.device.transport.adb_shell import EXIT, STDERR, STDOUT, AdbShell, shell
from smoothdroid.device.transport.receiver import is_ready, pieces, receiver, teller
from smoothdroid.device.transport.target import Output, Progress

ON_ITS_WAY = 24 << 20  # the most that a cut can lose: adbd itself takes all that comes, and keeps it in memory
ASK_EVERY_S = 0.01
POLL_S = 0.002


def append(
    device: adbutils.AdbDevice,
    name: str,
    source: Path,
    remote: str,
    start: int,
    progress: Progress | None,
    wait_s: float,
) -> None:
    """See Target.append, for the phone that is called `name`; `wait_s` is how long it may stand still.

    Raises adbutils' errors, EOFError and OSError when the way breaks.
    """
    said = Output(name, ["append", remote])
    with shell(device, receiver(remote, start), wait_s) as taker:
        while not is_ready(str(said).encode(), name, remote):
            if _ends(taker, said):
                raise EOFError(f"it said {str(said)!r}")
        # Where a shell has ended early, what it has is asked for next.
        with shell(device, teller(remote), wait_s) as asked, suppress(ConnectionError):
            flow = _Flow(asked, start, wait_s)
            for piece in pieces(source, start, progress):
                # An adb server whose phone is gone goes on taking what is sent to it, to the end: so listen.
                while (full := flow.is_full()) or taker.speaks():
                    if taker.speaks() and _ends(taker, said):
                        return
                    if full:
                        time.sleep(POLL_S)
                taker.feed(piece)
                flow.sent += len(piece)
            taker.end_input()
            taker.until_exit({STDOUT: said, STDERR: said})


def _ends(taker: AdbShell, said: Output) -> bool:
    """Take the next packet; whether it is the last."""
    kind, data = taker.packet()
    if kind == STDOUT:
        said.add(data)
    return kind == EXIT


class _Flow:
    """How much is on its way: sent, and not yet in the phone's file."""

    def __init__(self, teller: AdbShell, start: int, wait_s: float) -> None:
        self.sent = self._arrived = start
        self._teller, self._wait_s = teller, wait_s
        self._answer: bytearray | None = None  # what has come of it; None when nothing was asked
        self._asked_at = self._moved_at = time.monotonic()

    def is_full(self) -> bool:
        """Whether the phone should write before it is sent more. Raises TimeoutError when it writes nothing."""
        now = time.monotonic()
        if self._answer is not None and self._teller.speaks():
            self._hear(self._answer, now)
        on_its_way = self.sent - self._arrived
        if on_its_way > ON_ITS_WAY // 2 and self._answer is None and now - self._asked_at > ASK_EVERY_S:
            self._teller.feed(b"\n")
            self._answer, self._asked_at = bytearray(), now
        if on_its_way <= ON_ITS_WAY:
            self._moved_at = now
        elif now - self._moved_at > self._wait_s:
            raise TimeoutError("it writes nothing more")
        return on_its_way > ON_ITS_WAY

    def _hear(self, answer: bytearray, now: float) -> None:
        kind, data = self._teller.packet()
        answer += data if kind == STDOUT else b""
        if kind == EXIT or (b"\n" in answer and not re.fullmatch(rb"\d{1,18}\n", answer)):
            raise EOFError(f"asked for what arrived, it said {bytes(answer)!r}")
        if b"\n" in answer:
            arrived, self._answer = min(int(answer), self.sent), None
            if arrived > self._arrived:
                self._arrived, self._moved_at = arrived, now
