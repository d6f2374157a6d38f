"""The adb server: which one, chosen as adb itself chooses, how it is talked to, and which phones it lists."""

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
DEFAULT_SPEC_PORT = 5555  # adb's own, of `tcp:HOST` without a port
ANSWER_S = 20.0  # a server that says nothing for so long hangs
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
    """Empty: this machine."""
    port: int = 0
    path: str = ""
    """Of a Unix socket; an abstract one begins with a NUL. Such a server has no host and no port."""

    @property
    def is_local(self) -> bool:
        """Whether adb starts it when it does not run (AOSP, packages/modules/adb/socket_spec.cpp)."""
        return self.host in ("", "localhost")

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, and so reaches this machine's ports."""
        return self.host in ("", "localhost", "127.0.0.1", "::1")

    @property
    def shown(self) -> str:
        """How a user writes it after the `@` of --on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.spec if self.path else f"{host or '127.0.0.1'}:{self.port}"

    @property
    def suffix(self) -> str:
        """The end of its phones' names: empty for the server that adb uses without any setting."""
        usual = [one.port == DEFAULT_PORT and one.host in ("", "localhost", "127.0.0.1") for one in (self, default())]
        return "" if all(usual) else f"@{self.shown}"


def default(environ: Mapping[str, str] = os.environ) -> Server:
    """The server that adb uses in this environment. Raises BadInput for a variable that names none.

    The order and the forms are those of adb (AOSP, packages/modules/adb/client/commandline.cpp, socket_spec.cpp).
    """
    if (spec := environ.get(SOCKET)) is not None:
        return parse(spec, f"${SOCKET}")
    port = DEFAULT_PORT
    if said := environ.get(PORT):
        port = _port(said, f"${PORT}")
    host = environ.get(ADDRESS)
    if host is None:
        return Server(f"tcp:{port}", "", port)
    return _tcp(f"{_bracketed(host)}:{port}", f"${ADDRESS}")


def at(host: str | None = None, port: int | None = None) -> Server:
    """The server at `host`, which can also be a socket such as `localfilesystem:PATH`; the default one without both.

    Raises BadInput for what can be no address.
    """
    if host is None and port is None:
        return default()
    if host and re.match(r"(tcp|local|localfilesystem|localabstract):", host):
        return parse(host, host)
    if not host:
        return Server(f"tcp:{port}", "", port or DEFAULT_PORT)
    return _tcp(f"{_bracketed(host)}:{port or DEFAULT_PORT}", f"the adb server {host}")


def parse(spec: str, where: str) -> Server:
    """Read an adb socket specification. Raises BadInput, which says that it stands in `where`."""
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
    raise BadInput(f"{where}: {spec!r} names no adb server. It can be {SOCKET_FORMS}")


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
        raise BadInput(f"{where}: {address!r} is no address of an adb server: HOST:PORT or [IPV6]:PORT")
    six, six_port, name, name_port = match.groups()
    said = six_port if six else name_port
    port = DEFAULT_SPEC_PORT if said is None else _port(said, where)
    return Server(f"tcp:[{six}]:{port}" if six else f"tcp:{name}:{port}", six or name, port)


def _port(said: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", said) or not 1 <= int(said) <= 65535:
        raise BadInput(f"{where}: `{said}` is no port of an adb server: a number from 1 to 65535")
    return int(said)


def _bracketed(host: str) -> str:
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


class Client(adbutils.AdbClient):  # type: ignore[misc] # its package has no types
    """adbutils' client for any server; only a local server is started, and at its own address.

    adbutils knows no Unix sockets, and starts the server of the environment, whichever it was asked for.
    """

    def __init__(self, server: Server) -> None:
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
            raise AdbTimeout("it does not answer") from error
        except (OSError, UnicodeError) as error:  # a host's name can be no name at all
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
    """Whether something answers at the server's address; starts nothing."""
    try:
        _connected(server).close()
    except (OSError, UnicodeError):
        return False
    return True


def start(server: Server) -> None:
    """Start a server of this machine. Raises AdbError when that fails."""
    _make_executable()
    # A file, not a pipe: the server inherits it, and would keep a pipe open.
    with tempfile.TemporaryFile() as said:
        command = [adbutils.adb_path(), "-L", server.spec, "start-server"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=START_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AdbError(f"`{' '.join(command)}`: {error}") from error
        if done.returncode != 0:
            said.seek(0)
            lines = said.read(1 << 16).decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise AdbError(f"`adb start-server` failed: {lines[-1]}")


@dataclass(frozen=True)
class Attached:
    """A phone in an adb server's list."""

    serial: str
    state: str
    """`device`, `unauthorized`, `offline`, ...; it can be several words."""
    transport: str = ""
    """Its number in the server's list, a new one whenever it connects; empty where it was not asked for."""
    plug: str = ""
    """The USB port that it hangs at, as `usb:1-2`; empty where it was not asked for, or hangs at none."""
    shared: bool = False
    """Another phone of this list has the same serial."""

    @property
    def address(self) -> str:
        """Its name without `adb:`, as --on takes it."""
        return f"transport:{self.transport}" if self.shared and self.transport else self.serial


def listing(server: Server, *, detailed: bool = False) -> list[Attached]:
    """List the phones of a server. Asks for transports and USB ports if `detailed`, or if two have the same serial.

    Raises adbutils' AdbError and OSError; AdbError too for what is no adb server.
    """
    found = read_listing(_ask(server, "host:devices"))
    if found and (detailed or any(one.shared for one in found)):
        return read_listing(_ask(server, "host:devices"), _ask(server, "host:devices-l"))
    return found


def read_listing(short: str, long: str = "") -> list[Attached]:
    """Read what `adb devices`, and `adb devices -l` if given, print, in its order.

    The short form separates by tabs: serials and states may have spaces in them. The long form adds the rest.
    """
    pairs = [(serial, state) for serial, tab, state in (line.partition("\t") for line in short.splitlines()) if tab]
    details = long.splitlines()
    found = []
    for serial, state in pairs:
        rest = ""
        for number, line in enumerate(details):
            if line.startswith(serial) and re.match(rf"\s+{re.escape(state)}(\s|$)", line[len(serial) :]):
                rest = details.pop(number)[len(serial) :]
                break
        transport = re.search(r"\stransport_id:(\d{1,18})(?:\s|$)", rest)
        plug = re.search(r"\s(usb:[\w.:-]+)", rest)
        shared = sum(serial == other for other, _ in pairs) > 1
        found.append(Attached(serial, state, transport[1] if transport else "", plug[1] if plug else "", shared))
    return found


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
            raise AdbError(f"what answers there is no adb server: {error}") from error


def _make_executable() -> None:
    """Give the adb inside the adbutils wheel its executable bit, without which adbutils does not find it."""
    bundled = Path(adbutils.__file__).parent / "binaries" / "adb"
    if bundled.exists() and not os.access(bundled, os.X_OK):
        with suppress(OSError):  # another user's: then there may be an adb in $PATH
            bundled.chmod(bundled.stat().st_mode | 0o111)
