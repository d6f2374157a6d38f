"""A terminal that shows what a program prints."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress


def shown(
    command: Sequence[object], *, columns: int, environment: Mapping[str, str], stdout: int | None = None
) -> tuple[str, bytes]:
    """Run a command on a terminal of a width and return what the terminal shows, and what a piped `stdout` got.

    The terminal is read while the command runs, because it holds only a few kilobytes.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=dict(environment),
    )
    os.close(theirs)
    printed = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):  # EIO: who wrote has ended
        while more := terminal.read(1 << 12):
            printed += more
    piped, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed.decode(), piped or b""
