"""The SSH transport: a phone that runs an SSH daemon, such as Termux's."""

from __future__ import annotations

import logging
import re
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from smoothdroid.device.common.errors import NoPhone
from smoothdroid.device.transport import ssh_config
from smoothdroid.device.transport.marked_output import MarkedLine
from smoothdroid.device.transport.shell_target import TRANSFER_TIMEOUT_S, Command, ShellTarget
from smoothdroid.device.transport.ssh_login import Login

TERMUX_PORT = 8022
POLL_S = 0.1  # between checks of a silent channel; data and its end interrupt the wait
CHUNK = 1 << 16
EXIT_S = 1.0  # for the daemon to notice that a command has ended; it takes milliseconds on an idle phone
EXIT_POLL_S = 0.002

# Prints HOME if it can be entered.
_HOME = '[ "$HOME" ] && cd "$HOME" && pwd'

# Without a handler, Python prints paramiko's log on standard error.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class SshOptions:
    """Options for logging in. What is None is as for `ssh`: ~/.ssh/config, the agent, ~/.ssh/id_*, known_hosts."""

    key: Path | None = None
    known_hosts: Path | None = None
    accept_host_key: str | None = None
    """A fingerprint, `SHA256:...`; a host whose key has exactly this one is added to known_hosts."""


class SshTarget(ShellTarget):
    """A phone behind an SSH daemon. Commands and files go through `sh` there, whatever the login shell is."""

    kind = "ssh"
    pattern = "ssh://.*"
    forms = "ssh://user@host:8022"
    longest_command = 120_000  # Linux takes 128 KiB as one argument
    library_errors = (paramiko.SSHException,)

    def __init__(self, url: str, options: SshOptions | None = None) -> None:
        """Log in at `ssh://user@host:port`; what the URL leaves out comes from ~/.ssh/config, or is Termux's.

        Raises BadInput for a malformed URL, NoPhone when the phone is unreachable or refuses the login.
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

    @classmethod
    def open(cls, on: str, ssh: SshOptions | None = None) -> SshTarget:
        """Log in at a URL. Raises as the constructor."""
        return cls(on, ssh)

    def close(self) -> None:
        """See Target.close."""
        self._connection.close()

    @contextmanager
    def _start(self, argv: Sequence[str], line: str, timeout_s: float, *, tied: bool) -> Iterator[Command]:
        """See ShellTarget._start."""
        marked = MarkedLine(line)
        self._check_length(argv, marked.command)
        with closing(self._session()) as channel:
            channel.settimeout(TRANSFER_TIMEOUT_S)
            channel.exec_command(marked.command)
            command = SshCommand(channel, marked, self.name, argv)
            try:
                yield command
            except TimeoutError:
                if tied:  # the end of its input ends it
                    command.end_input()
                    command.await_exit()
                raise
            if marked.complete:
                command.await_exit()

    def _session(self) -> paramiko.Channel:
        if not self._connection.transport.is_active():
            raise EOFError("it was closed before")
        try:
            return self._connection.transport.open_session(timeout=TRANSFER_TIMEOUT_S)
        except paramiko.SSHException:
            # dropbear closes a channel that follows closely on one whose command was abandoned: nothing has run yet.
            return self._connection.transport.open_session(timeout=TRANSFER_TIMEOUT_S)

    def _home(self) -> str:
        """Return the user's home folder. Raises NoPhone where the phone names none that can be used."""
        done = self.run(["sh", "-c", _HOME], check=False)
        home = done.stdout.removesuffix("\n")
        if done.exit_status != 0 or not re.fullmatch(r"/.{0,999}", home) or not home.isprintable() or "\ufffd" in home:
            reason = (done.stderr.strip().splitlines() or [f"it is {home[:80]!r}"])[-1]
            raise NoPhone(
                f"{self.name}: the user's home folder cannot be used ({reason[:200]}). HOME must be the absolute path "
                "of an existing folder"
            )
        return home


class SshCommand(Command):
    """A command that runs on the phone. Raises paramiko's errors, EOFError and OSError when the connection breaks."""

    def __init__(self, channel: paramiko.Channel, marked: MarkedLine, target: str, argv: Sequence[str]) -> None:
        """Follow the command that `channel` runs."""
        super().__init__(target, argv)
        self._channel, self._marked, self._target = channel, marked, target

    def write(self, data: bytes) -> None:
        """See Command.write."""
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise BrokenPipeError("the command has ended") from error

    def end_input(self) -> None:
        """See Command.end_input."""
        self._channel.shutdown_write()

    def read(self, deadline: float | None = None) -> bytes:
        """See Command.read. Raises NoPhone where the login shell prints too much before the command."""
        channel, marked = self._channel, self._marked
        if deadline is None:
            deadline = time.monotonic() + TRANSFER_TIMEOUT_S
        while not marked.complete:
            # Looked at before the data: what the command wrote, it wrote before it ended.
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
        """See Command.exit_status.

        Raises EOFError when the connection broke, NoPhone when the login shell has not run the command.
        """
        if self._marked.stdout.status is not None:
            return self._marked.stdout.status
        status = self._channel.recv_exit_status()
        begun = self._marked.stdout.begun
        if status < 0 and not (begun and self._channel.eof_received):  # none was sent
            raise EOFError("no exit status arrived")
        if not begun:
            raise self._no_command(f"ended with status {status} and ran no command")
        return status if status > 0 else 128 + signal.SIGKILL  # the shell was killed by a signal

    def await_exit(self) -> None:
        """Let the daemon notice that the command has ended.

        Otherwise dropbear takes the end of this command for that of the next one, and closes its channel.
        """
        deadline = time.monotonic() + EXIT_S
        while not self._channel.exit_status_ready() and time.monotonic() < deadline:
            time.sleep(EXIT_POLL_S)

    def _no_command(self, problem: str) -> NoPhone:
        noise = (self._marked.stdout.noise + self._marked.stderr.noise).decode("utf-8", "replace")
        shown = "".join(letter if letter.isprintable() else " " for letter in noise).strip()
        return NoPhone(
            f"{self._target}: the login shell {problem}. It printed: {shown or 'nothing'}. Check its start-up files "
            "(such as ~/.bashrc), or set another login shell there (`chsh`)"
        )
