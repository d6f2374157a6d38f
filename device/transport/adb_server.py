"""Adb servers: the choice of one, as adb itself makes it, connections to it, and its list of phones."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport.adb_library import AdbConnectionError, AdbError, AdbTimeout, adbutils

DEFAULT_PORT = 5037
DEFAULT_SPEC_PORT = 5555  # adb's own default for `tcp:HOST`
ANSWER_S = 20.0  # a server that does not answer for this long hangs
START_S = 20.0
CONNECT_S = 3.0

SOCKET, ADDRESS, PORT = "ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_PORT"
SOCKET_FORMS = "tcp:PORT, tcp:HOST:PORT, localfilesystem:PATH or localabstract:NAME"


@dataclass(frozen=True)
class Server:
    """An adb server."""

    spec: str
    """Its address, as `adb -L` takes it."""
    host: str = ""
    """The host; empty for this machine."""
    port: int = 0
    path: str = ""
    """The path of a Unix socket; an abstract one begins with a NUL. Such a server has no host and no port."""

    @property
    def is_local(self) -> bool:
        """True if adb starts it if it is not running (AOSP, packages/modules/adb/socket_spec.cpp)."""
        return self.host in ("", "localhost")

    @property
    def is_here(self) -> bool:
        """True if it runs on this machine and can reach this machine's ports."""
        return self.host in ("", "localhost", "127.0.0.1", "::1")

    @property
    def shown(self) -> str:
        """The address as a user writes it after the `@` of --on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.spec if self.path else f"{host or '127.0.0.1'}:{self.port}"

    @property
    def suffix(self) -> str:
        """The end of its phones' names; empty for the server that adb uses by default."""
        usual = [
            server.port == DEFAULT_PORT and server.host in ("", "localhost", "127.0.0.1")
            for server in (self, default())
        ]
        return "" if all(usual) else f"@{self.shown}"


def default(environ: Mapping[str, str] = os.environ) -> Server:
    """Return the server that adb uses in this environment. Raises BadInput for a malformed variable.

    The order and the forms are those of adb (AOSP, packages/modules/adb/client/commandline.cpp, socket_spec.cpp).
    """
    if (spec := environ.get(SOCKET)) is not None:
        return parse(spec, f"${SOCKET}")
    port = DEFAULT_PORT
    if text := environ.get(PORT):
        port = _port(text, f"${PORT}")
    host = environ.get(ADDRESS)
    if host is None:
        return Server(f"tcp:{port}", "", port)
    return _tcp(f"{_bracketed(host)}:{port}", f"${ADDRESS}")


def at(host: str | None = None, port: int | None = None) -> Server:
    """Return the server at `host`, or a socket such as `localfilesystem:PATH`; the default one without both.

    Raises BadInput for what cannot be an address.
    """
    if host is None and port is None:
        return default()
    if host and re.match(r"(tcp|local|localfilesystem|localabstract):", host):
        return parse(host, host)
    if not host:
        return Server(f"tcp:{port}", "", port or DEFAULT_PORT)
    return _tcp(f"{_bracketed(host)}:{port or DEFAULT_PORT}", f"the adb server {host}")


def parse(spec: str, where: str) -> Server:
    """Read an adb socket specification. Raises BadInput, which names its origin `where`."""
    kind, colon, rest = spec.partition(":")
    if kind == "tcp" and colon:
        if re.fullmatch(r"[0-9]+", rest):
            port = _port(rest, where)
            return Server(f"tcp:{port}", "", port)
        return _tcp(rest, where)
    if kind in ("local", "localfilesystem") and rest:
        return Server(spec, path=rest)
    if kind == "localabstract" and rest:
        return Server(spec, path=f"\0{rest}")
    raise BadInput(f"{where}: {spec!r} is not the address of an adb server. It can be {SOCKET_FORMS}")


def parse_suffix(text: str, where: str) -> Server:
    """Read what follows the `@` of a phone's name: a socket specification, HOST or HOST:PORT. Raises as `parse`."""
    if not text.startswith(("tcp:", "local:", "localfilesystem:", "localabstract:")):
        has_port = ":" in text and not text.endswith("]")
        text = f"tcp:{text}" if has_port else f"tcp:{text}:{DEFAULT_PORT}"
    return parse(text, where)


def _tcp(address: str, where: str) -> Server:
    """Read HOST, HOST:PORT or [IPV6]:PORT."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+(?:%\w+)?)\](?::(.*))?|([^:\[\]\s/]+)(?::(.*))?", address)
    if not match:
        raise BadInput(f"{where}: {address!r} is not the address of an adb server: HOST:PORT or [IPV6]:PORT")
    six, six_port, name, name_port = match.groups()
    text = six_port if six else name_port
    port = DEFAULT_SPEC_PORT if text is None else _port(text, where)
    return Server(f"tcp:[{six}]:{port}" if six else f"tcp:{name}:{port}", six or name, port)


def _port(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= 65535:
        raise BadInput(f"{where}: `{text}` is not a port of an adb server: a number from 1 to 65535")
    return int(text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


class Client(adbutils.AdbClient):  # type: ignore[misc] # its package has no types
    """The adbutils client, extended to any server; a local server is started at its own address.

    adbutils itself supports no Unix sockets, and starts the server of the environment whichever server it was given.
    """

    def __init__(self, server: Server) -> None:
        """Talk to `server`."""
        super().__init__(server.host or "127.0.0.1", server.port or DEFAULT_PORT)
        self.server = server

    def make_connection(self, timeout: float | None = None) -> adbutils.AdbConnection:
        """Connect. `timeout` is for each wait. Raises adbutils' AdbError."""
        connection = _Connection(self.server)
        connection.conn.settimeout(timeout or ANSWER_S)
        return connection


class _Connection(adbutils.AdbConnection):  # type: ignore[misc] # its package has no types
    def __init__(self, server: Server) -> None:
        self._server = server
        super().__init__(server.host, server.port)

    def _safe_connect(self) -> socket.socket:
        try:
            return self._create_socket()
        except AdbError:
            if not self._server.is_local:
                raise
        start(self._server)
        return self._create_socket()

    def _create_socket(self) -> socket.socket:
        try:
            return _connected(self._server)
        except TimeoutError as error:
            raise AdbTimeout("the server does not answer") from error
        except (OSError, UnicodeError) as error:  # the host may not be a valid name
            raise AdbConnectionError(str(error)) from error


def _connected(server: Server) -> socket.socket:
    if server.path:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("this system has no Unix sockets")
        unix = socket.socket(socket.AF_UNIX)
        try:
            unix.connect(server.path)
        except OSError:
            unix.close()
            raise
        return unix
    tcp = socket.create_connection((server.host or "127.0.0.1", server.port), timeout=CONNECT_S)
    tcp.settimeout(None)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A server on another machine can vanish silently.
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPCNT", 3), ("TCP_KEEPINTVL", 10)):
        if hasattr(socket, option):
            tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return tcp


def runs(server: Server) -> bool:
    """Return whether something answers at the server's address; nothing is started."""
    try:
        _connected(server).close()
    except (OSError, UnicodeError):
        return False
    return True


def start(server: Server) -> None:
    """Start a server of this machine. Raises AdbError when that fails."""
    _make_executable()
    # A file, not a pipe: the server inherits it, and would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        command = [adbutils.adb_path(), "-L", server.spec, "start-server"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=START_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AdbError(f"`{' '.join(command)}`: {error}") from error
        if done.returncode != 0:
            output.seek(0)
            lines = output.read(1 << 16).decode("utf-8", "replace").strip().splitlines() or ["it printed nothing"]
            raise AdbError(f"`adb start-server` failed: {lines[-1]}")


@dataclass(frozen=True)
class Attached:
    """A phone in an adb server's list."""

    serial: str
    state: str
    """`device`, `unauthorized`, `offline`, ...; it can be several words."""
    transport: str = ""
    """The number in the server's list, a new one at each connection; empty where it was not requested."""
    plug: str = ""
    """The USB port, as `usb:1-2`; empty where it was not requested or there is none."""
    shared: bool = False
    """True if another phone of this list has the same serial."""

    @property
    def address(self) -> str:
        """The name without `adb:`, as --on takes it."""
        return f"transport:{self.transport}" if self.shared and self.transport else self.serial


def listing(server: Server, *, detailed: bool = False) -> list[Attached]:
    """Return the phones of a server, with transports and USB ports if `detailed` or if two have the same serial.

    Raises adbutils' AdbError, also for what is not an adb server, and OSError.
    """
    phones = read_listing(_ask(server, "host:devices"))
    if phones and (detailed or any(phone.shared for phone in phones)):
        return read_listing(_ask(server, "host:devices"), _ask(server, "host:devices-l"))
    return phones


def read_listing(short: str, long: str = "") -> list[Attached]:
    """Parse the output of `adb devices`, and of `adb devices -l` if given, in its order.

    The short form separates by tabs, because serials and states may contain spaces. The long form adds the rest.
    """
    pairs = [(serial, state) for serial, tab, state in (line.partition("\t") for line in short.splitlines()) if tab]
    details = long.splitlines()
    phones = []
    for serial, state in pairs:
        rest = ""
        for number, line in enumerate(details):
            if line.startswith(serial) and re.match(rf"\s+{re.escape(state)}(\s|$)", line[len(serial) :]):
                rest = details.pop(number)[len(serial) :]
                break
        transport = re.search(r"\stransport_id:(\d{1,18})(?:\s|$)", rest)
        plug = re.search(r"\s(usb:[\w.:-]+)", rest)
        shared = sum(serial == other for other, _ in pairs) > 1
        phones.append(Attached(serial, state, transport[1] if transport else "", plug[1] if plug else "", shared))
    return phones


def _ask(server: Server, request: str) -> str:
    with Client(server).make_connection() as connection:
        connection.send_command(request)
        try:
            connection.check_okay()
            length = connection.read_exact(4).decode("ascii")
            if not re.fullmatch("[0-9a-fA-F]{4}", length):
                raise ValueError(f"a length of {length!r}")
            return bytes(connection.read_exact(int(length, 16))).decode("utf-8", "replace")
        except (ValueError, EOFError) as error:
            raise AdbError(f"what answers there is not an adb server: {error}") from error


def _make_executable() -> None:
    """Make the adb in the adbutils wheel executable; adbutils finds it only then."""
    bundled = Path(adbutils.__file__).parent / "binaries" / "adb"
    if bundled.exists() and not os.access(bundled, os.X_OK):
        with suppress(OSError):  # it is another user's; there may be an adb in $PATH
            bundled.chmod(bundled.stat().st_mode | 0o111)
