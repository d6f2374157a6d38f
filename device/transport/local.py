"""The local transport: the workstation in place of a phone, so that a plan can be tried without one."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.transport.shell_target import TRANSFER_TIMEOUT_S, Command, ShellTarget

SH = "/bin/sh"
CHUNK = 1 << 16


class LocalTarget(ShellTarget):
    """The workstation."""

    kind = "local"
    pattern = "local:?"
    forms = "local:"
    longest_command = 120_000  # Linux takes 128 KiB as one argument
    name = "local:"

    def __init__(self) -> None:
        """Keep files in the cache folder."""
        self.root = str(cache_root() / "local")

    @classmethod
    def open(cls, _on: str, _ssh: object = None) -> LocalTarget:
        """Return the workstation."""
        return cls()

    @contextmanager
    def _start(self, argv: Sequence[str], line: str, timeout_s: float, *, tied: bool) -> Iterator[Command]:
        """See ShellTarget._start. Goes through a shell as on a phone, with the same quoting and exit statuses."""
        self._check_length(argv, line)
        with ChildProcess([SH, "-c", line], self.name, argv).running() as command:
            yield command


class ChildProcess(Command):
    """A command that runs as a child process of this one: the shell itself, or a program that reaches one."""

    def __init__(self, program: Sequence[str], target: str, argv: Sequence[str]) -> None:
        """Start `program`, which runs `argv` on `target`."""
        super().__init__(target, argv)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            program, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        self._outputs = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream  # noqa: S101 (a pipe, as requested)
            self._outputs.register(stream, selectors.EVENT_READ)
        self._deadline = time.monotonic() + TRANSFER_TIMEOUT_S

    @contextmanager
    def running(self) -> Iterator[Command]:
        """Wait for the process at the end of the block, or kill it with all that it started when the block raises."""
        with self._process, self._outputs:
            try:
                yield self
            except BaseException:
                self._kill()
                raise

    def read(self, deadline: float | None = None) -> bytes:
        """See Command.read."""
        self._deadline = time.monotonic() + TRANSFER_TIMEOUT_S if deadline is None else deadline
        while self._outputs.get_map():
            ready = self._outputs.select(max(self._deadline - time.monotonic(), 0))
            if not ready and time.monotonic() >= self._deadline:
                raise TimeoutError
            for key, _ in ready:
                data = os.read(key.fd, CHUNK)
                if not data:
                    self._outputs.unregister(key.fileobj)
                elif key.fileobj is self._process.stdout:
                    return data
                else:
                    self.stderr.add(data)
        return b""

    def write(self, data: bytes) -> None:
        """See Command.write."""
        rest = memoryview(data)
        while rest and self._process.stdin:
            rest = rest[self._process.stdin.write(rest) :]

    def end_input(self) -> None:
        """See Command.end_input."""
        if self._process.stdin:
            self._process.stdin.close()

    def exit_status(self) -> int:
        """See Command.exit_status."""
        try:
            status = self._process.wait(max(self._deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        return status if status >= 0 else 128 - status

    def _kill(self) -> None:
        """Kill the process and what it started: a benchmark left running would disturb the next one."""
        try:
            os.killpg(self._process.pid, 9)
        except ProcessLookupError:
            return
