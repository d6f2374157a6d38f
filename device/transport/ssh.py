"""A phone over SSH: Termux's sshd."""

from __future__ import annotations

import logging
import re
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko

from smoothdroid.device.common.atomic_file import replacing
from smoothdroid.device.common.errors import CommandFailed, NoPhone, TargetLost, TargetTimeout
from smoothdroid.device.transport import ssh_config
from smoothdroid.device.transport.marked_output import MarkedLine
from smoothdroid.device.transport.receiver import is_ready, pieces, receiver
from smoothdroid.device.transport.ssh_login import Login
from smoothdroid.device.transport.target import Completed, OnOutput, Output, Progress, command_line

TERMUX_PORT = 8022
POLL_S = 0.1  # between two looks at a silent channel, whose data and whose end wake who waits
CHUNK = 1 << 16
MOVE_TIMEOUT_S = 60  # a phone busy writing its flash stands still for seconds
EXIT_S = 1.0  # for the daemon to notice that a command has ended: milliseconds, on a phone that is not busy
EXIT_POLL_S = 0.002
COMMAND_BYTES = 120_000  # Linux takes 128 KiB as one argument
LONGEST_SIZE = 19  # digits

# HOME where it can be entered, as the shell spells it.
_HOME = '[ "$HOME" ] && cd "$HOME" && pwd'
# FILE MODE: takes standard input as the file; tells its size.
_TAKE = 'cat >"$1" && chmod "$2" "$1" && stat -L -c %s "$1"'
# FILE: its size in a line, then its content.
_GIVE = """
[ ! -e "$1" ] || [ -f "$1" ] || { echo "$1 is no regular file; a directory?" >&2; exit 1; }
exec <"$1" && stat -L -c %s "$1" && cat
"""

# Without a handler of its own, Python would print what paramiko logs on standard error.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class SshOptions:
    """How to log in; without any, as `ssh` would: ~/.ssh/config, the agent, ~/.ssh/id_*, ~/.ssh/known_hosts."""

    key: Path | None = None
    known_hosts: Path | None = None
    accept_host_key: str | None = None
    """A fingerprint, `SHA256:...`: a host that shows exactly this one is added to known_hosts."""


class SshTarget:
    """A phone behind an SSH daemon. Commands and files go through `sh` there, whatever the login shell is."""

    kind = "ssh"

    def __init__(self, url: str, options: SshOptions | None = None) -> None:
        """Log in at `ssh://user@host:port`; what the URL leaves out comes from ~/.ssh/config, or is Termux's.

        Raises BadInput for a malformed URL, NoPhone when the way is shut.
        """
        options = options or SshOptions()
        host = ssh_config.look_up(*ssh_config.parse(url), default_port=TERMUX_PORT)
        self.name = host.name
        login = Login(host, options.key, options.known_hosts, options.accept_host_key)
        self._connection = login.connect()
        try:
            self.root = f"{self._home().rstrip('/')}/.smoothdroid"
        except BaseException:
            self.close()
            raise

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
        with self._running(argv, command_line(argv, env, tied=tied)) as running:
            try:
                if not tied:  # then nothing that a login shell starts waits for it
                    running.end_input()
                while data := running.read(deadline):
                    stdout.add(data)
            except TimeoutError as error:
                if tied:  # the end of its input ends it
                    running.end_input()
                    running.await_exit()
                raise TargetTimeout(f"{self.name}: no answer in {timeout_s:.0f} s to `{argv[0]}`") from error
            done = Completed(running.exit_status(), str(stdout), str(running.stderr))
        if check and done.exit_status != 0:
            raise CommandFailed(self.name, argv, done.exit_status, done.stdout, done.stderr)
        return done

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """See Target.push."""
        argv = ["push", str(source), remote]
        said, sent = Output(self.name, argv), 0
        with self._running(argv, _script(_TAKE, remote, f"{mode:o}", fed=True)) as running:
            with suppress(OSError):  # a shell that ended early says why
                for piece in pieces(source, 0, progress):
                    running.feed(piece)
                    sent += len(piece)
                running.end_input()
            while data := running.read():
                said.add(data)
            status = running.exit_status()
        if status != 0 or str(said).strip() != str(sent):
            why = (
                str(running.stderr).strip() or f"{str(said).strip()[:40]!r} bytes arrived of {sent}: is the phone full?"
            )
            raise CommandFailed(self.name, argv, status, stderr=why)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """See Target.append."""
        with self._running(["append", remote], receiver(remote, start)) as running:
            said = b""
            while not is_ready(said, self.name, remote):
                if not (more := running.read()):
                    raise EOFError(f"it said {said!r}")
                said += more
            with suppress(OSError):  # what it has is asked for next
                for piece in pieces(source, start, progress):
                    running.feed(piece)
                running.end_input()
                while running.read():  # until the shell on the phone has ended
                    pass

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull. Takes no more than the size that the phone tells first."""
        argv = ["pull", remote]
        with (
            self._running(argv, _script(_GIVE, remote)) as running,
            replacing(destination) as part,
            part.open("wb") as file,
        ):
            size, data = self._told_size(argv, running)
            done = 0
            while data:
                if (done := done + len(data)) > size:
                    raise CommandFailed(self.name, argv, 0, stderr=f"more came than the {size} bytes that it has")
                file.write(data)
                if progress:
                    progress(done, size)
                data = running.read()
            if (status := running.exit_status()) != 0 or done < size:
                why = str(running.stderr).strip() or f"{done} bytes came of {size}"
                raise CommandFailed(self.name, argv, status, stderr=why)

    def close(self) -> None:
        """See Target.close."""
        self._connection.close()

    def _home(self) -> str:
        """The user's home folder. Raises NoPhone where the phone names none that can be used."""
        done = self.run(["sh", "-c", _HOME], check=False)
        home = done.stdout.removesuffix("\n")
        if done.exit_status != 0 or not re.fullmatch(r"/.{0,999}", home) or not home.isprintable() or "�" in home:
            said = (done.stderr.strip().splitlines() or [f"it says {home[:80]!r}"])[-1]
            raise NoPhone(
                f"{self.name}: the user's home folder cannot be used ({said[:200]}). HOME must be the absolute path of "
                "a folder that is there"
            )
        return home

    def _told_size(self, argv: Sequence[str], running: _Running) -> tuple[int, bytes]:
        """The size that `_GIVE` tells, and what came of the content behind it."""
        data = b""
        while b"\n" not in data and len(data) <= LONGEST_SIZE and (more := running.read()):
            data += more
        line, whole, content = data.partition(b"\n")
        if whole and re.fullmatch(rb"\d{1,%d}" % LONGEST_SIZE, line):
            return int(line), content or running.read()
        why = str(running.stderr).strip() or f"it said {line[:40]!r} for its size"
        raise CommandFailed(self.name, argv, running.exit_status(), stderr=why)

    @contextmanager
    def _running(self, argv: Sequence[str], line: str) -> Iterator[_Running]:
        """A command line that runs on the phone; paramiko's errors are translated."""
        marked = MarkedLine(line)
        if (length := len(marked.command)) > COMMAND_BYTES:
            said = f"the command is too long for the phone: {length} bytes, {COMMAND_BYTES} at most"
            raise CommandFailed(self.name, [argv[0], "..."], 126, stderr=said)
        doing = " ".join(argv[:3])
        try:
            with closing(self._session()) as channel:
                channel.settimeout(MOVE_TIMEOUT_S)
                channel.exec_command(marked.command)
                running = _Running(channel, marked, self.name, argv)
                yield running
                if marked.complete:
                    running.await_exit()
        except TimeoutError as error:
            raise TargetTimeout(f"{self.name}: no answer in time to `{doing}`") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # a file of this machine
            raise TargetLost(f"{self.name}: the connection broke during `{doing}`: {error}") from error

    def _session(self) -> paramiko.Channel:
        if not self._connection.transport.is_active():
            raise TargetLost(f"{self.name}: the connection is gone")
        try:
            return self._connection.transport.open_session(timeout=MOVE_TIMEOUT_S)
        except paramiko.SSHException:
            # dropbear closes a channel that follows closely on one whose command was given up: nothing ran yet.
            return self._connection.transport.open_session(timeout=MOVE_TIMEOUT_S)


class _Running:
    """A command that runs on the phone. What breaks it is raised as paramiko's errors, EOFError and OSError."""

    def __init__(self, channel: paramiko.Channel, marked: MarkedLine, name: str, argv: Sequence[str]) -> None:
        self._channel, self._marked, self._name, self._doing = channel, marked, name, argv[0]
        self.stderr = Output(name, argv)

    def feed(self, data: bytes) -> None:
        """Give standard input more."""
        self._channel.sendall(data)

    def end_input(self) -> None:
        """Standard input has come to its end."""
        self._channel.shutdown_write()

    def read(self, deadline: float | None = None) -> bytes:
        """The next bytes of standard output; none when the command has ended.

        Raises TimeoutError at the deadline, or when the phone is silent for MOVE_TIMEOUT_S where none is given.
        """
        channel, marked = self._channel, self._marked
        if deadline is None:
            deadline = time.monotonic() + MOVE_TIMEOUT_S
        while not marked.complete:
            # Asked before looking for data: what the command wrote, it wrote before it ended.
            ended = channel.exit_status_ready() and (channel.eof_received or channel.closed)
            data = b""
            silent = not (channel.recv_ready() or channel.recv_stderr_ready())
            if channel.recv_ready():
                data = marked.stdout.add(channel.recv(CHUNK))
            if channel.recv_stderr_ready():
                self.stderr.add(marked.stderr.add(channel.recv_stderr(CHUNK)))
            if data:
                return data
            if marked.stdout.too_noisy or marked.stderr.too_noisy:
                raise self._no_command("prints without end")
            if ended and silent:
                self.stderr.add(marked.stderr.rest())
                return marked.stdout.rest()
            if time.monotonic() > deadline:
                raise TimeoutError
            if silent:
                select.select([channel], [], [], min(POLL_S, max(deadline - time.monotonic(), 0)))
        return b""

    def exit_status(self) -> int:
        """The command's exit status, once `read` has come to the end.

        Raises TargetLost when the connection broke, NoPhone when the login shell has not run the command.
        """
        if self._marked.stdout.status is not None:
            return self._marked.stdout.status
        status = self._channel.recv_exit_status()
        begun = self._marked.stdout.begun
        if status < 0 and not (begun and self._channel.eof_received):  # none was sent
            raise TargetLost(f"{self._name}: the connection broke during `{self._doing}`")
        if not begun:
            raise self._no_command(f"ended with status {status} and ran no command")
        return status if status > 0 else 128 + signal.SIGKILL  # the shell died by a signal

    def await_exit(self) -> None:
        """Let the daemon notice that the command has ended.

        dropbear would otherwise take the end of this command for that of the next one, and close its channel.
        """
        deadline = time.monotonic() + EXIT_S
        while not self._channel.exit_status_ready() and time.monotonic() < deadline:
            time.sleep(EXIT_POLL_S)

    def _no_command(self, what: str) -> NoPhone:
        noise = (self._marked.stdout.noise + self._marked.stderr.noise).decode("utf-8", "replace")
        said = "".join(letter if letter.isprintable() else " " for letter in noise).strip()
        return NoPhone(
            f"{self._name}: the login shell {what}. It printed: {said or 'nothing'}. Look at its start-up files (as "
            "~/.bashrc), or set another login shell there (`chsh`)"
        )


def _script(text: str, *arguments: str, fed: bool = False) -> str:
    return command_line(["sh", "-c", text, "smoothdroid", *arguments], fed=fed)
