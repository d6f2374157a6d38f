"""Commands over adb's shell protocol, version 2 (AOSP, packages/modules/adb/shell_protocol.h)."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from smoothdroid.device.transport.adb_library import AdbError, adbutils
from smoothdroid.device.transport.shell_target import TRANSFER_TIMEOUT_S, Command

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = 0, 1, 2, 3, 4
LONGEST_PACKET = 1 << 20  # AOSP's MAX_PAYLOAD

MOST_IN_TRANSIT = 24 << 20  # bytes that a cut can lose: adbd accepts all that comes and keeps it in memory
ASK_EVERY_S = 0.01
POLL_S = 0.002


class AdbCommand(Command):
    """A command that runs on the phone. Raises adbutils' errors, EOFError and OSError when the connection breaks."""

    def __init__(self, connection: adbutils.AdbConnection, target: str, argv: Sequence[str]) -> None:
        """Follow the command that was sent over `connection`."""
        super().__init__(target, argv)
        self._connection, self._socket = connection, connection.conn
        self._pending = bytearray()  # of standard output
        self._status: int | None = None
        # Without it, each of several short packets waits 40 ms until the one before it is acknowledged.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, deadline: float | None = None) -> bytes:
        """See Command.read."""
        while self._status is None and not self._pending:
            left = TRANSFER_TIMEOUT_S if deadline is None else deadline - time.monotonic()
            self._socket.settimeout(max(left, 0.001))
            self._take_packet()
        data = bytes(self._pending)
        self._pending.clear()
        return data

    def write(self, data: bytes) -> None:
        """See Command.write."""
        self.poll()
        self._send(STDIN, data)

    def end_input(self) -> None:
        """See Command.end_input."""
        self._send(CLOSE_STDIN, b"")

    def exit_status(self) -> int:
        """See Command.exit_status."""
        if self._status is None:
            raise EOFError("the command has not ended")
        return self._status

    def poll(self) -> None:
        """Take what the phone has sent, without waiting. Raises BrokenPipeError when the command has ended.

        An adb server whose phone is gone still accepts what is sent to it: only what it sends tells so.
        """
        while self._status is None and select.select([self._socket], [], [], 0)[0]:
            self._take_packet()
        if self._status is not None:
            raise BrokenPipeError("the command has ended")

    def take_output(self) -> bytes:
        """Return the standard output that has arrived, without waiting. Raises BrokenPipeError as `poll`."""
        self.poll()
        data = bytes(self._pending)
        self._pending.clear()
        return data

    def _take_packet(self) -> None:
        header = self._connection.read_exact(5)
        kind, length = header[0], int.from_bytes(header[1:], "little")
        if length > LONGEST_PACKET:
            raise AdbError(f"a packet of {length} bytes, which no adbd sends")
        data = self._connection.read_exact(length)
        if kind == EXIT and data:
            self._status = data[0]
        elif kind == STDOUT:
            self._pending += data
        elif kind == STDERR:
            self.stderr.add(data)

    def _send(self, kind: int, data: bytes) -> None:
        self._socket.settimeout(TRANSFER_TIMEOUT_S)
        try:
            self._socket.sendall(bytes([kind]) + len(data).to_bytes(4, "little"))
            self._socket.sendall(data)
        except ConnectionError as error:
            raise BrokenPipeError("the connection was closed") from error


class FlowControl:
    """The limit on what is in transit to a phone: sent, and not yet in its file."""

    def __init__(self, command: AdbCommand, reporter: AdbCommand, start: int, timeout_s: float) -> None:
        """Limit what is sent to `command`; `reporter` answers each line with how many bytes its file has."""
        self._command, self._reporter, self._timeout_s = command, reporter, timeout_s
        self._sent = self._arrived = start
        self._answer: bytearray | None = None  # what has arrived of an answer; None when no question is open
        self._asked_at = self._moved_at = time.monotonic()

    def wait_for_room(self, size: int) -> None:
        """Wait until `size` more bytes may be sent.

        Raises TimeoutError when the phone stops writing, BrokenPipeError when the command has ended.
        """
        while self._is_full():
            self._command.poll()
            time.sleep(POLL_S)
        self._sent += size

    def _is_full(self) -> bool:
        now = time.monotonic()
        if self._answer is not None:
            self._receive_answer(now)
        in_transit = self._sent - self._arrived
        if in_transit > MOST_IN_TRANSIT // 2 and self._answer is None and now - self._asked_at > ASK_EVERY_S:
            self._ask()
            self._answer, self._asked_at = bytearray(), now
        if in_transit <= MOST_IN_TRANSIT:
            self._moved_at = now
        elif now - self._moved_at > self._timeout_s:
            raise TimeoutError("the phone has stopped writing")
        return in_transit > MOST_IN_TRANSIT

    def _ask(self) -> None:
        try:
            self._reporter.write(b"\n")
        except BrokenPipeError as error:
            raise EOFError("the phone does not report how much arrived") from error

    def _receive_answer(self, now: float) -> None:
        try:
            self._answer = (self._answer or bytearray()) + self._reporter.take_output()
        except BrokenPipeError as error:
            raise EOFError("the phone no longer reports how much arrived") from error
        if b"\n" not in self._answer:
            return
        if not re.fullmatch(rb"\d{1,18}\n", self._answer):
            raise EOFError(f"the phone reported {bytes(self._answer)!r} as a size")
        arrived, self._answer = min(int(self._answer), self._sent), None
        if arrived > self._arrived:
            self._arrived, self._moved_at = arrived, now


@contextmanager
def shell(
    device: adbutils.AdbDevice, line: str, timeout_s: float, target: str, argv: Sequence[str]
) -> Iterator[AdbCommand]:
    """Run a command line for `argv` until the block ends. Every Android since 7 speaks this protocol."""
    with device.open_transport(timeout=timeout_s) as connection:
        connection.send_command(f"shell,v2,raw:{line}")
        connection.check_okay()
        yield AdbCommand(connection, target, argv)
