"""A shell on the phone by adb's shell protocol, version 2 (AOSP, packages/modules/adb/shell_protocol.h)."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from smoothdroid.device.transport.adb_library import AdbError, adbutils
from smoothdroid.device.transport.target import Output

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = 0, 1, 2, 3, 4
LONGEST_PACKET = 1 << 20  # AOSP's MAX_PAYLOAD


class AdbShell:
    """A command that runs over there. What breaks it is raised as adbutils' errors, EOFError and OSError."""

    def __init__(self, connection: adbutils.AdbConnection) -> None:
        """`connection` has been told the command."""
        self._connection = connection
        # Short packets, one after the other: else each waits until the one before it is acknowledged, 40 ms.
        connection.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def packet(self) -> tuple[int, bytes]:
        """The next packet from over there: its id and what it holds."""
        header = self._connection.read_exact(5)
        if (length := int.from_bytes(header[1:], "little")) > LONGEST_PACKET:
            raise AdbError(f"a packet of {length} bytes, which no adbd sends")
        return header[0], self._connection.read_exact(length)

    def speaks(self) -> bool:
        """Whether something from over there is waiting, its end too."""
        return bool(select.select([self._connection.conn], [], [], 0)[0])

    def feed(self, data: bytes) -> None:
        """Give standard input more."""
        self._send(STDIN, data)

    def end_input(self) -> None:
        """Standard input has come to its end."""
        self._send(CLOSE_STDIN, b"")

    def until_exit(self, outputs: Mapping[int, Output], deadline: float | None = None) -> int:
        """Its exit status; what it says meanwhile goes to `outputs`, by the id of the packet."""
        while True:
            if deadline is not None:
                self._connection.conn.settimeout(max(deadline - time.monotonic(), 0.001))
            kind, data = self.packet()
            if kind == EXIT and data:
                return data[0]
            if kind in outputs:
                outputs[kind].add(data)

    def _send(self, kind: int, data: bytes) -> None:
        self._connection.conn.sendall(bytes([kind]) + len(data).to_bytes(4, "little"))
        self._connection.conn.sendall(data)


@contextmanager
def shell(device: adbutils.AdbDevice, command: str, timeout_s: float) -> Iterator[AdbShell]:
    """Run a command line; `timeout_s` is for each wait. Every Android since 7 speaks this protocol."""
    with device.open_transport(timeout=timeout_s) as connection:
        connection.send_command(f"shell,v2,raw:{command}")
        connection.check_okay()
        yield AdbShell(connection)
