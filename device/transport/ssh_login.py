"""Login at an SSH daemon: the connection, the host's key, the user's keys, and advice where one of them fails."""

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
MOST_JUMPS = 8  # in a row; more are a loop in ~/.ssh/config


@dataclass
class SshConnection:
    """An open connection after login, with the jump hosts that it goes through."""

    transport: paramiko.Transport
    below: SshConnection | None = None
    proxy: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Close it and all that it goes through."""
        self.transport.close()
        if self.below:
            self.below.close()
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()


@dataclass(frozen=True)
class Login:
    """A host to log in at, and how."""

    host: Host
    key: Path | None = None
    """The one key to offer."""
    known_hosts: Path | None = None
    """The file to use instead of the configuration's."""
    accepted: str | None = None
    """The fingerprint of a host key to trust."""
    jumps_so_far: int = field(default=0, repr=False)

    def connect(self) -> SshConnection:
        """Connect and log in.

        Raises Unreachable where nothing answers, NoPhone where the host refuses the login, BadInput for a key or a
        configuration that cannot be used.
        """
        host = self.host
        with keys_for(host, self.key) as keys:  # before connecting: a key that is named must be usable
            sock, below, proxy = self._socket()
            transport = _transport(sock)
            connection = SshConnection(transport, below, proxy)
            try:
                files = (self.known_hosts,) if self.known_hosts else host.known_hosts
                known = KnownHosts(files, self.accepted)
                _start(transport, host, known)
                _log_in(transport, host, keys)
            except BaseException:
                connection.close()
                raise
        return connection

    def _socket(self) -> tuple[socket.socket | paramiko.Channel, SshConnection | None, subprocess.Popen[bytes] | None]:
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
                    f"{host.jumps[-1]} does not forward connections to {host.name}: set `AllowTcpForwarding yes` in "
                    "its sshd_config"
                ) from error
            raise Unreachable(
                f"{host.name} cannot be reached through {host.jumps[-1]}: {error}. Is `sshd` running in Termux, and "
                f"the address right as {host.jumps[-1]} sees it?"
            ) from error
        return channel, below, None

    def _jump(self) -> Login:
        """Return the login at the last host before this one."""
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
            f"{host.name}: the name {host.hostname} cannot be resolved ({error}). Give the phone's address, which its "
            "settings show under Wi-Fi, or name it in ~/.ssh/config"
        ) from error
    except OSError as error:
        raise Unreachable(_no_answer(host, error)) from error
    # Without it, each of several short packets waits 40 ms until the one before it is acknowledged.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _no_answer(host: Host, error: object) -> str:
    where = "" if host.hostname == host.alias else f" at {host.hostname}"
    return f"{host.name} cannot be reached{where}: {error}. Is `sshd` running in Termux, and the address right?"


def _run_proxy(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start ProxyCommand, whose standard input and output are the connection."""
    near, far = socket.socketpair()
    with far:
        # As in ssh, a shell reads the command and becomes it.
        proxy = subprocess.Popen(
            ["sh", "-c", f"exec {command}"], stdin=far.fileno(), stdout=far.fileno(), stderr=subprocess.DEVNULL
        )
    return near, proxy


class _Transport(paramiko.Transport):
    """A transport that keeps the other end's reason for closing the connection, which paramiko only logs."""

    farewell = ""

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()
        self.farewell = message.get_text()


def _transport(sock: socket.socket | paramiko.Channel) -> _Transport:
    """Return a transport that prefers ciphers which also authenticate: paramiko prefers slower ones."""
    transport = _Transport(sock)
    transport.banner_timeout = transport.auth_timeout = CONNECT_TIMEOUT_S
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda cipher: "-gcm@" not in cipher)
    return transport


def _start(transport: paramiko.Transport, host: Host, known: KnownHosts) -> None:
    """Negotiate session keys with the host and verify its identity."""
    kinds = known.kinds(host.known_as or name_of(host.hostname, host.port))
    security = transport.get_security_options()
    security.key_types = sorted(security.key_types, key=lambda kind: _signs_as(kind) not in kinds)
    try:
        transport.start_client(timeout=CONNECT_TIMEOUT_S)
        key = transport.get_remote_server_key()
    except IncompatiblePeer as error:
        raise NoPhone(
            f"{host.name} and this machine support no common algorithm: {error}. Update its SSH daemon"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        through = f" through `{host.proxy_command}`" if host.proxy_command else ""
        raise Unreachable(
            _no_answer(host, f"nothing there speaks SSH{through} ({error})")
            + " After failed logins an SSH daemon may reject this machine for a while: wait a minute"
        ) from error
    known.check(host.hostname, host.port, key, host.known_as)


def _signs_as(algorithm: str) -> str:
    """Return the kind of key that a signature algorithm is for."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _log_in(transport: _Transport, host: Host, keys: Keys) -> None:
    """Offer one key after another until the host accepts one. Raises NoPhone when it accepts none."""
    if not keys.offered:
        return _log_in_without(transport, host, keys)
    for count, (label, key) in enumerate(keys.offered.items(), 1):
        try:
            more = transport.auth_publickey(host.user, key)
        except paramiko.BadAuthenticationType as error:
            raise NoPhone(
                f"{host.name} accepts no keys, only {', '.join(error.allowed_types)}. Set `PubkeyAuthentication yes` "
                "in its sshd_config"
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not transport.is_active():
                raise _ended(host, count, label, transport.farewell) from error
            if "timeout" in str(error):
                raise Unreachable(f"{host.name} does not answer the login") from error
            continue
        if more:
            raise NoPhone(
                f"{host.name} asks for more than a key: {', '.join(more)}. Configure it so that a key is enough"
            )
        return None
    raise NoPhone(_refused(host, keys))


def _log_in_without(transport: paramiko.Transport, host: Host, keys: Keys) -> None:
    with suppress(paramiko.SSHException, OSError, EOFError):  # an SSH daemon may require nothing
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
    """Return the error for a connection that ended when key number `count` was offered."""
    if count == 1:
        return Unreachable(f"{host.name} ended the connection during the login, when {label} was offered: {farewell}")
    # Without a reason, the phone may also have lost its network for a moment.
    kind = NoPhone if farewell else Unreachable
    return kind(
        f"{host.name} ended the login when {count} keys had been offered: too many keys offered. Name the right one "
        "with --ssh-key, or in ~/.ssh/config with `IdentityFile` and `IdentitiesOnly yes`"
    )


def _refused(host: Host, keys: Keys) -> str:
    offered = ", ".join(keys.offered)
    return (
        f"{host.name} refused the login: it does not accept {offered}. Put the public key into ~/.ssh/authorized_keys "
        f"on the phone (`{_copy_id(host)}`), check the user's name (`whoami` there), or name another key with --ssh-key"
        + (f". {_locked(keys)}" if keys.locked else "")
    )


def _locked(keys: Keys) -> str:
    path = keys.locked[0]
    return f"{path} has a passphrase: `ssh-add {path}` adds it to ssh-agent, which smoothdroid uses"


def _copy_id(host: Host) -> str:
    return f"ssh-copy-id -p {host.port} {host.user}@{host.alias}"
