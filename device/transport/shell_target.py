"""The base class of all transports: commands and files go through a shell on the phone."""

from __future__ import annotations

import codecs
import errno
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from smoothdroid.device.common.atomic_file import replacing
from smoothdroid.device.common.errors import CommandFailed, SmoothdroidError, TargetLost, TargetTimeout
from smoothdroid.device.transport import file_transfer
from smoothdroid.device.transport.command_line import command_line
from smoothdroid.device.transport.target import Completed, OnOutput, Progress

TRANSFER_TIMEOUT_S = 60.0  # without any progress: a phone that is busy writing its flash pauses for seconds
MOST_OUTPUT = 64 << 20  # bytes of output that a command may print: ten times the longest log of llama.cpp
LONGEST_SIZE = 19  # digits
SHOWN_COMMAND = 80  # characters of a command in a message
_NO_NETWORK = (errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN)


class Output:
    """Decoded output of a command, limited to MOST_OUTPUT bytes."""

    def __init__(self, target: str, argv: Sequence[str], on_output: OnOutput | None = None) -> None:
        """Collect output of `argv` on `target`; `on_output` is called with each piece as it arrives."""
        self._target, self._argv, self._on_output = target, argv, on_output
        self._bytes = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, data: bytes) -> None:
        """Add the next piece. Raises CommandFailed when there is too much."""
        self._bytes += data
        if len(self._bytes) > MOST_OUTPUT:
            problem = f"it printed more than {MOST_OUTPUT >> 20} MiB"
            raise CommandFailed(self._target, self._argv[:4], 0, stderr=problem)
        if self._on_output:
            self._on_output(self._decoder.decode(data))

    def __str__(self) -> str:
        """Return the text, with invalid UTF-8 replaced."""
        return self._bytes.decode("utf-8", "replace")


class Command(ABC):
    """A command line that runs on the phone.

    Errors of the connection are raised as they are; ShellTarget translates them.
    """

    def __init__(self, target: str, argv: Sequence[str]) -> None:
        """Hold the error output of `argv`, which `read` fills."""
        self.stderr = Output(target, argv)

    @abstractmethod
    def read(self, deadline: float | None = None) -> bytes:
        """Return the next bytes of standard output; none when the command has ended.

        Raises TimeoutError at the deadline, a value of time.monotonic(), or without one when nothing came for
        TRANSFER_TIMEOUT_S.
        """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send bytes to standard input. Raises BrokenPipeError when the command has ended."""

    @abstractmethod
    def end_input(self) -> None:
        """Close standard input."""

    @abstractmethod
    def exit_status(self) -> int:
        """Return the exit status, 128 + N after signal N, once `read` has returned nothing."""


class ShellTarget(ABC):
    """A phone with a shell. A transport is a subclass: it says how a command line reaches that shell.

    Quoting, a clean environment, time limits, exit statuses, file transfers and the translation of errors are the same
    for all of them. A new transport is added to TRANSPORTS in resolve.py.
    """

    kind: str
    """The name of the transport in records and tables."""
    pattern: ClassVar[str]
    """A regular expression for the whole of a name that `open` takes."""
    forms: ClassVar[str]
    """The forms of such a name, separated by commas, as --help shows them."""
    longest_command: ClassVar[int]
    """The most bytes that a command line may have."""
    library_errors: ClassVar[tuple[type[Exception], ...]] = ()
    """What the transport's library raises when the connection breaks."""

    name: str
    root: str

    @abstractmethod
    def _start(
        self, argv: Sequence[str], line: str, timeout_s: float, *, tied: bool
    ) -> AbstractContextManager[Command]:
        """Run a command line for `argv` until the block ends; connecting takes `timeout_s` at most."""

    def close(self) -> None:
        """See Target.close. By default each command has a connection of its own, so none is left."""
        return

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
        on_output: OnOutput | None = None,
        tied: bool = False,
    ) -> Completed:
        """See Target.run."""
        deadline = time.monotonic() + timeout_s
        stdout = Output(self.name, argv, on_output)
        with self._running(argv, command_line(argv, env, tied=tied), timeout_s, tied=tied) as command:
            if not tied:  # nothing that a login shell starts waits for input
                command.end_input()
            while data := command.read(deadline):
                stdout.add(data)
            done = Completed(command.exit_status(), str(stdout), str(command.stderr))
        if check and done.exit_status != 0:
            raise CommandFailed(self.name, argv, done.exit_status, done.stdout, done.stderr)
        return done

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """See Target.push."""
        argv, total = ["push", str(source), remote], source.stat().st_size
        reply = Output(self.name, argv)
        with self._running(argv, file_transfer.receive(remote, mode)) as command:
            with suppress(BrokenPipeError):  # the command failed, and its output says why
                for piece in file_transfer.pieces(source, 0, progress):
                    command.write(piece)
                command.end_input()
            while data := command.read():
                reply.add(data)
            status = command.exit_status()
        arrived = str(reply).strip()
        if status != 0 or arrived != str(total):
            problem = f"{arrived[:40]!r} bytes arrived of {total}: is the phone full?"
            raise CommandFailed(self.name, argv, status, stderr=str(command.stderr).strip() or problem)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """See Target.append."""
        reply = b""
        with self._running(["append", remote], file_transfer.append(remote, start)) as command:
            while not file_transfer.is_ready(reply, self.name, remote):
                if not (data := command.read()):
                    raise EOFError(f"the phone printed {reply!r}")
                reply += data
            # Where the command has ended early, the caller asks how much arrived.
            with suppress(BrokenPipeError), self._pacing(command, remote, start) as wait_for_room:
                for piece in file_transfer.pieces(source, start, progress):
                    wait_for_room(len(piece))
                    command.write(piece)
                command.end_input()
                while command.read():
                    pass

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull. No more is read than the size that the phone reports first."""
        argv, done = ["pull", remote], 0
        with (
            self._running(argv, file_transfer.send(remote)) as command,
            replacing(destination) as new,
            new.open("wb") as file,
        ):
            size, data = self._reported_size(argv, command)
            while data:
                if (done := done + len(data)) > size:
                    raise CommandFailed(self.name, argv, 0, stderr=f"more than its {size} bytes arrived")
                file.write(data)
                if progress:
                    progress(done, size)
                data = command.read()
            if (status := command.exit_status()) != 0 or done < size:
                problem = str(command.stderr).strip() or f"{done} of its {size} bytes arrived"
                raise CommandFailed(self.name, argv, status, stderr=problem)

    def _reported_size(self, argv: Sequence[str], command: Command) -> tuple[int, bytes]:
        """Return the size that `file_transfer.send` reports, and the first bytes of the content after it."""
        data = b""
        while b"\n" not in data and len(data) <= LONGEST_SIZE and (more := command.read()):
            data += more
        line, newline, content = data.partition(b"\n")
        if newline and re.fullmatch(rb"\d{1,%d}" % LONGEST_SIZE, line):
            return int(line), content or command.read()
        problem = str(command.stderr).strip() or f"the phone reported the size {line[:40]!r}"
        raise CommandFailed(self.name, argv, command.exit_status(), stderr=problem)

    @contextmanager
    def _pacing(self, command: Command, remote: str, start: int) -> Iterator[Callable[[int], None]]:
        """Yield what is called before a piece of that many bytes is appended, and may wait."""
        yield lambda _: None

    @contextmanager
    def _running(
        self, argv: Sequence[str], line: str, timeout_s: float = TRANSFER_TIMEOUT_S, *, tied: bool = False
    ) -> Iterator[Command]:
        """Run a command line for `argv` until the block ends, with the transport's errors translated."""
        try:
            with self._start(argv, line, timeout_s, tied=tied) as command:
                yield command
        except TimeoutError as error:
            raise TargetTimeout(f"{self.name}: no answer within {timeout_s:g} s to `{_shown(argv)}`") from error
        except Exception as error:
            if isinstance(error, self.library_errors) or _is_loss(error):
                raise self._lost(argv, error) from error
            raise

    def _lost(self, argv: Sequence[str], error: Exception) -> SmoothdroidError:
        """Return the error to raise when the connection broke."""
        return TargetLost(f"{self.name}: the connection broke during `{_shown(argv)}`: {error}")

    def _check_length(self, argv: Sequence[str], line: str) -> None:
        if (length := len(line.encode())) > self.longest_command:
            problem = f"the command is too long for {self.kind}: {length} bytes, {self.longest_command} at most"
            raise CommandFailed(self.name, [argv[0], "..."], 126, stderr=problem)


def _is_loss(error: Exception) -> bool:
    """Return whether an error is that of a connection rather than, say, of a file of the workstation."""
    if isinstance(error, EOFError | ConnectionError):
        return True
    # Libraries raise OSError without a number for a socket that is closed.
    return isinstance(error, OSError) and error.filename is None and error.errno in (None, errno.EBADF, *_NO_NETWORK)


def _shown(argv: Sequence[str]) -> str:
    """Return the beginning of a command on one line."""
    line = " ".join(" ".join(argv).split())
    return line if len(line) <= SHOWN_COMMAND else f"{line[:SHOWN_COMMAND]}..."
