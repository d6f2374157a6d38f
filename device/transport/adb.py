"""A phone over adb, through the adb server that adb itself would use (adb_server.py)."""

from __future__ import annotations

import errno
import re
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from smoothdroid.device.common import system
from smoothdroid.device.common.atomic_file import replacing
from smoothdroid.device.common.errors import CommandFailed, NoPhone, TargetLost, TargetTimeout, Unreachable
from smoothdroid.device.transport import adb_server
from smoothdroid.device.transport.adb_append import append
from smoothdroid.device.transport.adb_library import AdbError, AdbTimeout, adbutils
from smoothdroid.device.transport.adb_server import Attached, Server
from smoothdroid.device.transport.adb_shell import STDERR, STDOUT, shell
from smoothdroid.device.transport.target import Completed, OnOutput, Output, Progress, command_line

ROOT = "/data/local/tmp/smoothdroid"
CONNECT_S = 20.0  # adb itself gives up on an address after about 10 s
MORE_THAN_ONE = "more than one device"  # what an adb server says to a serial that two phones have

COMMAND_BYTES = 0xFFFF  # adb tells the length in four hexadecimal digits

# adb's sync protocol, for files (AOSP, packages/modules/adb/SYNC.TXT).
SYNC_CHUNK = 64 << 10  # the longest that adbd takes
SYNC_TIMEOUT_S = 60  # a phone busy writing its flash stands still for seconds

_ON_A_NETWORK = r"(\[[0-9A-Fa-f:.%\w]+\]|[^:\s]+):\d{1,5}|\S.*\._adb(-tls-connect)?\._tcp"
"""The serials of phones on a network, which `adb connect` takes: HOST:PORT, or the name that mDNS gives."""

BACK_TO_ANDROID = "let it start Android: choose `Reboot system now` in its menu, or hold the power key for 15 s"
WHAT_TO_DO = {
    "unauthorized": 'unlock the phone and accept this computer\'s key ("Allow USB debugging?"), then try again',
    "authorizing": "the phone is still thinking about this computer's key; look at its screen, then try again",
    "connecting": "adb is still connecting to it: try again in some seconds; if it stays so, connect it anew",
    "detached": "somebody took it away from adb with `adb detach`: `adb attach` gives it back, or connect it anew",
    "bootloader": f"the phone is in its bootloader: {BACK_TO_ANDROID}",
    "recovery": f"the phone is in recovery: {BACK_TO_ANDROID}",
    "sideload": f"the phone waits for an update (`adb sideload`): {BACK_TO_ANDROID}",
    "rescue": f"the phone is in rescue mode: {BACK_TO_ANDROID}",
    "host": "another computer's adb answers there, not a phone: give the address of the phone itself",
}
"""A state in an adb server's list -> what to do about it (AOSP, packages/modules/adb/adb.h, ConnectionState)."""


# FILE MODE: its size.
_CLOSE = 'chmod "$2" "$1" 2>/dev/null; stat -L -c %s "$1"'
_NO_NETWORK = (errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN)


class AdbTarget:
    """A phone behind an adb server."""

    kind = "adb"
    root = ROOT

    def __init__(self, serial: str, host: str | None = None, port: int | None = None) -> None:
        """Open the phone `serial`, which can also be `transport:ID` or `usb:PORT`, of the server adb_server.at.

        A phone on a network is connected to if need be. Raises Unreachable unless adb has it ready, NoPhone where
        several phones have the serial.
        """
        server = adb_server.at(host, port)
        phone = find(serial, server)
        self.name = f"adb:{serial}{server.suffix}"
        check_ready(serial, phone.state)
        # Its serial stays when it connects anew, its transport does not.
        by_transport = serial != phone.serial and phone.transport
        known = {"transport_id": int(phone.transport)} if by_transport else {"serial": phone.serial}
        self._device = adbutils.AdbDevice(adb_server.Client(server), **known)

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
        """See Target.run. Speaks shell protocol 2, which every Android since 7 has."""
        deadline = time.monotonic() + timeout_s
        command = command_line(argv, env, tied=tied)
        if (length := len(command.encode())) > COMMAND_BYTES:
            said = f"the command is too long for adb: {length} bytes, {COMMAND_BYTES} at most"
            raise CommandFailed(self.name, [argv[0], "..."], 126, stderr=said)
        stdout, stderr = Output(self.name, argv, on_output), Output(self.name, argv)
        with self._translated(argv), shell(self._device, command, timeout_s) as running:
            exit_status = running.until_exit({STDOUT: stdout, STDERR: stderr}, deadline)
        done = Completed(exit_status, str(stdout), str(stderr))
        if check and exit_status != 0:
            raise CommandFailed(self.name, argv, exit_status, done.stdout, done.stderr)
        return done

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """See Target.push."""
        argv, total, done = ["push", str(source), remote], source.stat().st_size, 0
        with (
            self._translated(argv),
            source.open("rb") as file,
            self._sync(b"SEND", f"{remote},{stat.S_IFREG | mode}") as connection,
        ):
            while chunk := file.read(SYNC_CHUNK):
                connection.conn.sendall(_sync_packet(b"DATA", chunk))
                done += len(chunk)
                if progress:
                    progress(done, total)
            connection.conn.sendall(b"DONE" + int(time.time()).to_bytes(4, "little"))
            self._sync_answer(connection, argv)
        # adbd gives the group and everybody else what the owner has (AOSP, daemon/file_sync_service.cpp), and adb can
        # report success after the disk filled up. Shared storage has no modes.
        if (there := self._size(["sh", "-c", _CLOSE, "close", remote, f"{mode:o}"])) != done:
            raise CommandFailed(self.name, argv, 1, stderr=f"{there} bytes arrived of {done}: is the phone full?")

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """See Target.append."""
        with self._translated(["append", remote]):
            append(self._device, self.name, source, remote, start, progress, SYNC_TIMEOUT_S)

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull."""
        argv, total, done = ["pull", remote], self._size(["stat", "-L", "-c", "%s", remote]), 0
        with (
            self._translated(argv),
            replacing(destination) as part,
            part.open("wb") as file,
            self._sync(b"RECV", remote) as connection,
        ):
            while (length := self._sync_answer(connection, argv)) is not None:
                if (done := done + length) > total:
                    raise CommandFailed(self.name, argv, 0, stderr=f"more came than the {total} bytes that it has")
                file.write(connection.read_exact(length))
                if progress:
                    progress(done, total)

    def close(self) -> None:
        """See Target.close. Each command has a connection of its own, so nothing is held."""

    def _size(self, argv: Sequence[str]) -> int:
        """The size that a command prints: the sync protocol tells sizes in 32 bits, and models are larger."""
        said = self.run(argv).stdout.strip()
        if not re.fullmatch(r"[0-9]{1,18}", said):
            raise CommandFailed(self.name, argv, 0, stderr=f"it said {said[:80]!r}, and a size was asked for")
        return int(said)

    @contextmanager
    def _sync(self, request: bytes, argument: str) -> Iterator[adbutils.AdbConnection]:
        """adbutils' own sync forgets why the phone said no, and waits for a silent phone for ever."""
        with self._device.open_transport(timeout=SYNC_TIMEOUT_S) as connection:
            # Short packets, one after the other: else each waits until the one before it is acknowledged, 40 ms.
            connection.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.send_command("sync:")
            connection.check_okay()
            connection.conn.sendall(_sync_packet(request, argument.encode()))
            yield connection

    def _sync_answer(self, connection: adbutils.AdbConnection, argv: Sequence[str]) -> int | None:
        """How many bytes of data follow, None at the end. Raises CommandFailed when the phone says no."""
        header = connection.read_exact(8)
        kind, length = header[:4], int.from_bytes(header[4:], "little")
        if kind in (b"FAIL", b"DATA") and length > SYNC_CHUNK:
            raise AdbError(f"a packet of {length} bytes, which no adbd sends")
        if kind == b"FAIL":
            raise CommandFailed(self.name, argv, 1, stderr=connection.read_exact(length).decode("utf-8", "replace"))
        return length if kind == b"DATA" else None

    @contextmanager
    def _translated(self, argv: Sequence[str]) -> Iterator[None]:
        doing = " ".join(argv[:4])
        try:
            yield
        except (AdbTimeout, TimeoutError) as error:
            raise TargetTimeout(f"{self.name}: no answer in time to `{doing}`") from error
        except (AdbError, EOFError, ConnectionError, ValueError) as error:
            if MORE_THAN_ONE in str(error):
                raise NoPhone(f"{self.name}: a second phone with the same serial was connected. {TWINS}") from error
            raise TargetLost(f"{self.name}: the connection broke during `{doing}`: {error}") from error
        except OSError as error:
            if error.errno not in _NO_NETWORK:
                raise
            raise TargetLost(f"{self.name}: the adb server is out of reach: {error}") from error


def _sync_packet(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4, "little") + data


TWINS = "`smoothdroid devices` lists them by their transport ids, as adb:transport:ID"


def attached(host: str | None = None, port: int | None = None) -> dict[str, str]:
    """List the phones of an adb server: what follows `adb:` in a phone's name -> its state (`device`, `offline`, ...).

    That is its serial, or `transport:ID` where several phones have the same. Raises Unreachable when there is no
    server and none can be started, BadInput when the environment names no server.
    """
    return {one.address: one.state for one in _listing(adb_server.at(host, port))}


def attached_already(port: int | None = None) -> dict[str, str]:
    """List as `attached` does, but start no server: where none runs, nothing is attached. Raises as `attached`."""
    return attached(port=port) if adb_server.runs(adb_server.at(port=port)) else {}


def parse_listing(short: str, long: str = "") -> dict[str, str]:
    """Read what `adb devices`, and `adb devices -l` if given, print, into what `attached` returns."""
    return {one.address: one.state for one in adb_server.read_listing(short, long)}


def twins() -> dict[str, str]:
    """Each serial that several phones of the default server have -> a sentence about it. Raises as `attached`."""
    found = [one for one in _listing(adb_server.default()) if one.shared]
    return {one.serial: _twins(one.serial, found) for one in found}


def find(wanted: str, server: Server) -> Attached:
    """The phone with a serial, or with `transport:ID` or `usb:PORT`; one on a network is connected to if need be.

    Raises Unreachable where there is none, NoPhone where there are several.
    """
    phones = _listing(server, detailed=wanted.startswith(("transport:", "usb:")))
    phone = _pick(wanted, phones)
    if (phone is None or phone.state == "offline") and is_on_a_network(wanted):
        connect(wanted, server=server)
        phones = _listing(server)
        phone = _pick(wanted, phones)
    if phone is None:
        seen = ", ".join(sorted(one.address for one in phones)) or "none"
        raise Unreachable(f"adb has no phone {wanted}; it has: {seen}. `smoothdroid devices` lists them")
    return phone


def is_on_a_network(serial: str) -> bool:
    """Whether a phone with this serial is reached by `adb connect`."""
    return not serial.startswith("transport:") and re.fullmatch(_ON_A_NETWORK, serial) is not None


def _pick(wanted: str, phones: Sequence[Attached]) -> Attached | None:
    found = [one for one in phones if wanted in (one.serial, one.plug, f"transport:{one.transport}")]
    if len(found) > 1:
        raise NoPhone(_twins(wanted, found))
    return found[0] if found else None


def _twins(serial: str, phones: Sequence[Attached]) -> str:
    its = [one for one in phones if one.serial == serial]
    count = {2: "two", 3: "three"}.get(len(its), str(len(its)))
    said = f"adb has {count} phones with the serial {serial}"
    if not all(one.transport for one in its):
        return f"{said}, and this adb server does not tell them apart: unplug all but one, or update adb"
    said += f": transport ids {', '.join(one.transport for one in its)}. Name one with --on: "
    said += ", ".join(f"adb:{one.address}" + (f" (at adb:{one.plug})" if one.plug else "") for one in its)
    return f"{said}. An id changes when the phone is connected anew" + (
        ", its USB port does not" if any(one.plug for one in its) else ""
    )


def check_ready(serial: str, state: str) -> None:
    """Raises Unreachable unless `state` is one in which a phone can work, saying what to do."""
    if state != "device":
        raise Unreachable(f"the phone {serial} is there, but adb calls it `{state}`: {what_to_do(state, serial)}")


def what_to_do(state: str, serial: str = "") -> str:
    """Advice about a phone that adb lists in this state."""
    by_network = is_on_a_network(serial)
    if "no permissions" in state:
        return f"this user may not open the USB device: {system.this().fix('udev')}, then plug it in again"
    if state in WHAT_TO_DO:
        return WHAT_TO_DO[state]
    anew = f"`adb disconnect {serial}`, then `adb connect {serial}`" if by_network else "plug it out and in again"
    if state == "offline":
        return f"{anew}; if that is not enough, turn {'wireless' if by_network else 'USB'} debugging off and on"
    return f"smoothdroid does not know this state: let the phone start Android, {anew}"


def connect(address: str, port: int | None = None, *, server: Server | None = None) -> None:
    """Have an adb server connect to `address`, HOST:PORT: `server`, or that of this machine at `port`, or the default.

    Raises Unreachable when it cannot.
    """
    server = server or adb_server.at(port=port)
    client = adb_server.Client(server)
    try:
        answer = client.connect(address, timeout=CONNECT_S)
        if "already" in answer and _state(address, server) == "offline":
            # What is left of a connection to a phone that went away and came back.
            client.disconnect(address)
            answer = client.connect(address, timeout=CONNECT_S)
    except (AdbError, OSError, ValueError) as error:
        raise Unreachable(f"adb could not connect to {address}: {error or 'no answer'}") from error
    if "connected to" not in answer:
        raise Unreachable(f"adb could not connect to {address}: {answer}. {_how_to_reach(answer)}")


def disconnect(address: str) -> None:
    """Have the default adb server forget `HOST:PORT`; other phones are left alone."""
    adb_server.Client(adb_server.default()).disconnect(address)


def _state(address: str, server: Server) -> str:
    """The state of a phone by its address; empty where it is not listed."""
    return next((one.state for one in _listing(server) if one.serial == address), "")


def _how_to_reach(answer: str) -> str:
    if "authenticate" in answer:
        return WHAT_TO_DO["unauthorized"]
    return (
        "Is the phone on, on the same network, and listening there? Wireless debugging shows its address, and the port "
        "changes whenever it is switched on; by cable, `adb tcpip 5555` has it listen at port 5555 until it restarts"
    )


def _listing(server: Server, *, detailed: bool = False) -> list[Attached]:
    try:
        return adb_server.listing(server, detailed=detailed)
    except (AdbError, OSError) as error:
        why = "and none could be started" if server.is_local else "and adb starts one only for `localhost`"
        raise Unreachable(f"no adb server at {server.shown}, {why}: {error}") from error
