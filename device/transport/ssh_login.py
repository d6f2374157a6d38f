"""The way into an SSH daemon: the connection, the host's key, the login; and what to do where one of them fails."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from smoothdroid.device.common.errors import BadInput, NoPhone, Unreachable
from smoothdroid.device.transport.known_hosts import KnownHosts, name_of
from smoothdroid.device.transport.ssh_config import Host, look_up, parse
from smoothdroid.device.transport.ssh_keys import Keys, keys_for

CONNECT_TIMEOUT_S = 15
FORBIDDEN = 1  # RFC 4254, SSH_OPEN_ADMINISTRATIVELY_PROHIBITED
MOST_JUMPS = 8  # one after the other; more are a loop in ~/.ssh/config


@dataclass
class Connection:
    """An open connection, logged in, with the jump hosts that it goes through."""

    transport: paramiko.Transport
    below: Connection | None = None
    proxy: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Give it back, and all that it goes through."""
        self.transport.close()
        if self.below:
            self.below.close()
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()


@dataclass(frozen=True)
class Login:
    """How to log in at one host."""

    host: Host
    key: Path | None = None
    """The one key to offer."""
    known_hosts: Path | None = None
    """The file to use instead of the configuration's."""
    accepted: str | None = None
    """The fingerprint of a host key to trust."""
    jumps_so_far: int = field(default=0, repr=False)

    def connect(self) -> Connection:
        """Connect and log in.

        Raises Unreachable where nothing answers now, NoPhone where what answers refuses, BadInput for a key or a
        configuration that cannot be used.
        """
        host = self.host
        with keys_for(host, self.key) as keys:  # before anything is connected: a key that is named must be usable
            sock, below, proxy = self._socket()
            transport = _transport(sock)
            connection = Connection(transport, below, proxy)
            try:
                files = (self.known_hosts,) if self.known_hosts else host.known_hosts
                known = KnownHosts(files, self.accepted)
                _start(transport, host, known)
                _log_in(transport, host, keys)
            except BaseException:
                connection.close()
                raise
        return connection

    def _socket(self) -> tuple[socket.socket | paramiko.Channel, Connection | None, subprocess.Popen[bytes] | None]:
        host = self.host
        if host.proxy_command:
            sock, proxy = _run_proxy(host.proxy_command)
            return sock, None, proxy
        if not host.jumps:
            return _dial(host), None, None
        below = self._jump().connect()
        try:
            channel = below.transport.open_channel(
                "direct-tcpip", (host.hostname, host.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            below.close()
            if isinstance(error, paramiko.ChannelException) and error.code == FORBIDDEN:
                raise NoPhone(
                    f"{host.jumps[-1]} lets no connection through to {host.name}: set `AllowTcpForwarding yes` in its "
                    "sshd_config"
                ) from error
            raise Unreachable(
                f"{host.name} cannot be reached through {host.jumps[-1]}: {error}. Is `sshd` running in Termux, and "
                f"the address right as {host.jumps[-1]} sees it?"
            ) from error
        return channel, below, None

    def _jump(self) -> Login:
        """How to log in at the last host before this one."""
        if self.jumps_so_far >= MOST_JUMPS:
            raise BadInput(
                f"~/.ssh/config: ProxyJump leads from {self.host.alias} through more than {MOST_JUMPS} hosts"
            )
        *before, last = self.host.jumps
        user, name, port = parse(last if last.startswith("ssh://") else f"ssh://{last}")
        host = look_up(user, name, port)
        if before:
            host = replace(host, jumps=tuple(before), proxy_command=None)
        return Login(host, None, self.known_hosts, self.accepted, self.jumps_so_far + 1)


def _dial(host: Host) -> socket.socket:
    try:
        sock = socket.create_connection((host.hostname, host.port), timeout=CONNECT_TIMEOUT_S)
    except (socket.gaierror, UnicodeError) as error:
        raise Unreachable(
            f"{host.name}: the name {host.hostname} is not known ({error}). Give the phone's address, which its "
            "settings show under Wi-Fi, or name it in ~/.ssh/config"
        ) from error
    except OSError as error:
        raise Unreachable(_no_answer(host, error)) from error
    # Short packets, one after the other: else each waits until the one before it is acknowledged, 40 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _no_answer(host: Host, error: object) -> str:
    where = "" if host.hostname == host.alias else f" at {host.hostname}"
    return f"{host.name} cannot be reached{where}: {error}. Is `sshd` running in Termux, and the address right?"


def _run_proxy(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start ProxyCommand; what it says on standard output is the connection."""
    ours, its = socket.socketpair()
    with its:
        # As ssh does: a shell reads it, and becomes it.
        proxy = subprocess.Popen(
            ["sh", "-c", f"exec {command}"], stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL
        )
    return ours, proxy


class _Transport(paramiko.Transport):
    """A transport that remembers why the other end closed the connection: paramiko only logs it."""

    farewell = ""

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()
        self.farewell = message.get_text()


def _transport(sock: socket.socket | paramiko.Channel) -> _Transport:
    """Encrypts and authenticates in one pass where the phone can: paramiko would ask for that last, and be slower."""
    transport = _Transport(sock)
    transport.banner_timeout = transport.auth_timeout = CONNECT_TIMEOUT_S
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda cipher: "-gcm@" not in cipher)
    return transport


def _start(transport: paramiko.Transport, host: Host, known: KnownHosts) -> None:
    """Agree on keys with the host, and see that it is the one that it should be."""
    kinds = known.kinds(host.known_as or name_of(host.hostname, host.port))
    security = transport.get_security_options()
    security.key_types = sorted(security.key_types, key=lambda kind: _signs_as(kind) not in kinds)
    try:
        transport.start_client(timeout=CONNECT_TIMEOUT_S)
        key = transport.get_remote_server_key()
    except IncompatiblePeer as error:
        raise NoPhone(
            f"{host.name} and this machine have no algorithm in common: {error}. Update its SSH daemon"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        through = f" through `{host.proxy_command}`" if host.proxy_command else ""
        raise Unreachable(
            _no_answer(host, f"nothing there speaks SSH{through} ({error})")
            + " After failed logins an SSH daemon may turn this machine away: wait a minute then"
        ) from error
    known.check(host.hostname, host.port, key, host.known_as)


def _signs_as(algorithm: str) -> str:
    """The kind of key that a signature algorithm is for."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _log_in(transport: _Transport, host: Host, keys: Keys) -> None:
    """Offer one key after the other until the host takes one. Raises NoPhone when it takes none."""
    if not keys.offered:
        return _log_in_without(transport, host, keys)
    for count, (label, key) in enumerate(keys.offered.items(), 1):
        try:
            more = transport.auth_publickey(host.user, key)
        except paramiko.BadAuthenticationType as error:
            raise NoPhone(
                f"{host.name} takes no keys, only {', '.join(error.allowed_types)}. Set `PubkeyAuthentication yes` in "
                "its sshd_config"
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not transport.is_active():
                raise _ended(host, count, label, transport.farewell) from error
            if "timeout" in str(error):
                raise Unreachable(f"{host.name} does not answer to the login") from error
            continue
        if more:
            raise NoPhone(f"{host.name} asks for more than a key: {', '.join(more)}. Let a key be enough there")
        return None
    raise NoPhone(_refused(host, keys))


def _log_in_without(transport: paramiko.Transport, host: Host, keys: Keys) -> None:
    with suppress(paramiko.SSHException, OSError, EOFError):  # an SSH daemon may ask for nothing
        transport.auth_none(host.user)
    if transport.is_authenticated():
        return
    if not transport.is_active():
        raise Unreachable(f"{host.name} ended the connection during the login")
    if keys.locked:
        raise NoPhone(f"{host.name} refused the login: no key could be offered. {_locked(keys)}")
    raise NoPhone(
        f"{host.name} refused the login: there is no key to log in with, neither in ~/.ssh nor in ssh-agent. Make one "
        f"with `ssh-keygen`, put it on the phone with `{_copy_id(host)}` (Termux asks for a password, which `passwd` "
        "there sets), or name one with --ssh-key"
    )


def _ended(host: Host, count: int, label: str, farewell: str) -> NoPhone:
    """Why the connection ended when key number `count` was offered."""
    if count == 1:
        return Unreachable(f"{host.name} ended the connection during the login, when {label} was offered: {farewell}")
    # One that says nothing may also have lost its network, and be there again soon.
    kind = NoPhone if farewell else Unreachable
    return kind(
        f"{host.name} ended the login when {count} keys had been offered: too many keys offered. Name the right one "
        "with --ssh-key, or in ~/.ssh/config with `IdentityFile` and `IdentitiesOnly yes`"
    )


def _refused(host: Host, keys: Keys) -> str:
    offered = ", ".join(keys.offered)
    return (
        f"{host.name} refused the login: it does not know {offered}. Put the public key into ~/.ssh/authorized_keys on "
        f"the phone (`{_copy_id(host)}`), check the user's name (`whoami` there), or name another key with --ssh-key"
        + (f". {_locked(keys)}" if keys.locked else "")
    )


def _locked(keys: Keys) -> str:
    path = keys.locked[0]
    return f"{path} has a passphrase: `ssh-add {path}` gives it to ssh-agent, which smoothdroid asks"


def _copy_id(host: Host) -> str:
    return f"ssh-copy-id -p {host.port} {host.user}@{host.alias}"
