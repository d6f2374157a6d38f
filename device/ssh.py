"""A phone over SSH: Termux's sshd."""

from __future__ import annotations

import base64
import getpass
import hashlib
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paramiko
from paramiko.pkey import UnknownKeyType

from device.errors import BadInput, CommandFailed, NoPhone, TargetLost, TargetTimeout, Unreachable
from device.receiver import LONGEST_WORD, is_ready, pieces, receiver
from device.target import Completed, OnOutput, Output, Progress, arriving, command_line

TERMUX_PORT = 8022
CONNECT_TIMEOUT_S = 15
POLL_S = 0.02  # between two looks at a silent channel: far below what a person or a benchmark notices
CHUNK = 1 << 16
SEND_TIMEOUT_S = 60  # a phone busy writing its flash stands still for seconds


@dataclass(frozen=True)
class SshOptions:
    """How to log in; without any, as `ssh` would: the agent, ~/.ssh/id_*, ~/.ssh/known_hosts."""

    key: Path | None = None
    known_hosts: Path | None = None
    accept_host_key: str | None = None
    """A fingerprint, `SHA256:...`: a host that shows exactly this one is added to known_hosts."""


def fingerprint(key: paramiko.PKey) -> str:
    """A host key's fingerprint as OpenSSH prints it, `SHA256:...`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


class _Ask(paramiko.MissingHostKeyPolicy):
    """Refuses a host that known_hosts does not know, unless the user named this very fingerprint."""

    def __init__(self, accepted: str | None, known_hosts: Path) -> None:
        self._accepted, self._known_hosts = accepted, known_hosts

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        seen = fingerprint(key)
        if self._accepted is None:
            raise NoPhone(
                f"{hostname} is not in {self._known_hosts}. It shows the {key.get_name()} key {seen}. Compare that "
                "with what `ssh-keygen -lf $PREFIX/etc/ssh/ssh_host_*_key.pub` prints on the phone; if it is the same, "
                f"add `--accept-host-key {seen}`"
            )
        if seen != self._accepted:
            raise NoPhone(f"{hostname} shows the key {seen}, not {self._accepted}, which you accept: not connecting")
        self._known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = self._known_hosts.read_text(encoding="utf-8") if self._known_hosts.exists() else ""
        separator = "" if known.endswith("\n") or not known else "\n"  # after an editor that left it out
        with self._known_hosts.open("a", encoding="utf-8") as file:
            file.write(f"{separator}{hostname} {key.get_name()} {key.get_base64()}\n")


class SshTarget:
    """A phone behind an SSH daemon."""

    def __init__(self, url: str, options: SshOptions | None = None) -> None:
        """Log in at `ssh://user@host:port`. Raises BadInput for a malformed URL, NoPhone when the way is shut."""
        options = options or SshOptions()
        user, host, port = parse_url(url)
        self.name = f"ssh://{user}@{host}:{port}"
        known_hosts = options.known_hosts or Path.home() / ".ssh" / "known_hosts"
        self._client = paramiko.SSHClient()
        if known_hosts.exists():
            self._client.load_host_keys(str(known_hosts))
        self._client.set_missing_host_key_policy(_Ask(options.accept_host_key, known_hosts))
        key = _load_key(options.key) if options.key else None
        try:
            self._client.connect(
                host,
                port,
                user,
                pkey=key,
                allow_agent=key is None,
                look_for_keys=key is None,
                timeout=CONNECT_TIMEOUT_S,
                banner_timeout=CONNECT_TIMEOUT_S,
                auth_timeout=CONNECT_TIMEOUT_S,
                transport_factory=_transport,
            )
        except paramiko.BadHostKeyException as error:
            raise NoPhone(
                f"{host}:{port} shows the key {fingerprint(error.key)}, but {known_hosts} knows another: somebody may "
                f"be in between. If the phone was set up anew, `ssh-keygen -R '[{host}]:{port}'` and try again"
            ) from error
        except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
            raise NoPhone(
                f"{self.name} refused the login ({error}). Put this machine's public key into ~/.ssh/authorized_keys "
                "on the phone, or name another with --ssh-key"
            ) from error
        except (paramiko.SSHException, OSError) as error:
            raise Unreachable(
                f"{self.name} cannot be reached: {error}. Is `sshd` running in Termux, and the address right?"
            ) from error
        self.root = f"{self.run(['sh', '-c', 'echo $HOME']).stdout.strip()}/.smoothdroid"

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
        stdout, stderr = Output(self.name, argv, on_output), Output(self.name, argv)
        with self._translated(argv), closing(self._session()) as channel:
            channel.exec_command(command_line(argv, env, tied=tied))
            while True:
                # Asked before looking for data: what the command wrote, it wrote before it ended.
                ended = channel.exit_status_ready() and (channel.eof_received or channel.closed)
                silent = True
                while channel.recv_ready():
                    stdout.add(channel.recv(CHUNK))
                    silent = False
                while channel.recv_stderr_ready():
                    stderr.add(channel.recv_stderr(CHUNK))
                    silent = False
                if ended:
                    break
                if time.monotonic() > deadline:
                    channel.close()
                    raise TargetTimeout(f"{self.name}: no answer in {timeout_s:.0f} s to `{argv[0]}`")
                if silent:
                    time.sleep(POLL_S)
            exit_status = channel.recv_exit_status()
            if exit_status < 0:  # none was sent: the shell died by a signal, or the connection broke
                if not channel.eof_received:
                    raise TargetLost(f"{self.name}: the connection broke during `{argv[0]}`")
                exit_status = 128 + signal.SIGKILL
        done = Completed(exit_status, str(stdout), str(stderr))
        if check and exit_status != 0:
            raise CommandFailed(self.name, argv, exit_status, done.stdout, done.stderr)
        return done

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """See Target.push."""
        with self._translated(["put", str(source), remote]), self._client.open_sftp() as sftp:
            sftp.put(str(source), remote, callback=progress, confirm=True)
            sftp.chmod(remote, mode)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """See Target.append."""
        argv = ["append", remote]
        with self._translated(argv), closing(self._session()) as channel:
            channel.settimeout(SEND_TIMEOUT_S)
            channel.exec_command(receiver(remote, start))
            said = b""
            while not is_ready(said, self.name, remote):
                if not (more := channel.recv(LONGEST_WORD)):
                    raise EOFError(f"it said {said!r}")
                said += more
            with suppress(OSError):  # what it has is asked for next
                for piece in pieces(source, start, progress):
                    channel.sendall(piece)
                channel.shutdown_write()
                while channel.recv(LONGEST_WORD):  # until the shell over there has ended
                    pass

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull."""
        with self._translated(["get", remote]), arriving(destination) as part, self._client.open_sftp() as sftp:
            sftp.get(remote, str(part), callback=progress)

    def close(self) -> None:
        """See Target.close."""
        self._client.close()

    def _session(self) -> paramiko.Channel:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise TargetLost(f"{self.name}: the connection is gone")
        return transport.open_session()

    @contextmanager
    def _translated(self, argv: Sequence[str]) -> Iterator[None]:
        doing = " ".join(argv[:3])
        try:
            yield
        except TimeoutError as error:
            raise TargetTimeout(f"{self.name}: no answer in time to `{doing}`") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport = self._client.get_transport()
            if isinstance(error, OSError) and transport is not None and transport.is_active():
                # SFTP's way of saying no: no such folder, permission denied, disk full.
                raise CommandFailed(self.name, argv, 1, stderr=str(error)) from error
            raise TargetLost(f"{self.name}: the connection broke during `{doing}`: {error}") from error


def _transport(*args: Any, **options: Any) -> paramiko.Transport:  # noqa: ANN401 (handed on)
    """Encrypts and authenticates in one pass where the phone can: paramiko would ask for that last, and be slower."""
    transport = paramiko.Transport(*args, **options)
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda cipher: "-gcm@" not in cipher)
    return transport


def _load_key(path: Path) -> paramiko.PKey:
    """Read here: paramiko would try the file as each kind of key, and tell of the last try only."""
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError as error:
        raise BadInput(f"there is no SSH key {path}") from error
    except (paramiko.SSHException, OSError, ValueError, TypeError, UnknownKeyType) as error:
        raise BadInput(
            f"{path} cannot be used as an SSH key: {error}. One with a passphrase works through ssh-agent: "
            "`ssh-add` it, and leave --ssh-key out"
        ) from error


def parse_url(url: str) -> tuple[str, str, int]:
    """`ssh://user@host:port` -> (user, host, port). Raises BadInput."""
    try:
        parts = urlsplit(url)
        port = TERMUX_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise BadInput(f"{url} cannot be read: {error}") from error
    if parts.scheme != "ssh" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadInput(f"{url} is no SSH target; it looks like ssh://user@192.168.1.20:8022")
    if port == 0 or parts.password is not None:
        raise BadInput(f"{parts.hostname}: " + ("port 0 is none" if port == 0 else "log in with a key, not a password"))
    return parts.username or getpass.getuser(), parts.hostname, port
