"""A phone over adb, through the adb server that runs or the one that adbutils brings."""

from __future__ import annotations

import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import adbutils
from adbutils.errors import AdbError, AdbTimeout

from device import system
from device.adb_append import append
from device.adb_shell import STDERR, STDOUT, shell
from device.errors import CommandFailed, NoPhone, TargetLost, TargetTimeout
from device.target import Completed, OnOutput, Output, Progress, arriving, command_line

ROOT = "/data/local/tmp/smoothdroid"
DEFAULT_PORT = 5037

LOOK_TIMEOUT_S = 0.5  # a server on this machine answers within milliseconds

COMMAND_BYTES = 0xFFFF  # adb tells the length in four hexadecimal digits

# adb's sync protocol, for files (AOSP, packages/modules/adb/SYNC.TXT).
SYNC_CHUNK = 64 << 10  # the longest that adbd takes
SYNC_TIMEOUT_S = 60  # a phone busy writing its flash stands still for seconds

WHAT_TO_DO = {
    "unauthorized": 'unlock the phone and accept this computer\'s key ("Allow USB debugging?"), then try again',
    "authorizing": "the phone is still thinking about this computer's key; look at its screen, then try again",
    "offline": "plug it out and in again; if that is not enough, turn USB debugging off and on",
    "bootloader": "the phone is in its bootloader: let it start Android",
    "recovery": "the phone is in recovery: let it start Android",
}


class AdbTarget:
    """A phone behind an adb server."""

    root = ROOT

    def __init__(self, serial: str, host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> None:
        """Take hold of the phone `serial`. Raises NoPhone unless adb has it ready."""
        local = (host, port) == ("127.0.0.1", DEFAULT_PORT)
        self.name = f"adb:{serial}" if local else f"adb:{serial}@{host}:{port}"
        self._device = adbutils.AdbDevice(_client(host, port), serial=serial)
        states = attached(host, port)
        if serial not in states:
            seen = ", ".join(sorted(states)) or "none"
            raise NoPhone(f"adb has no phone {serial}; it has: {seen}. `smoothdroid devices` lists them")
        check_ready(serial, states[serial])

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

    def push(self, source: Path, remote: str, *, mode: int = 0o644, progress: Progress | None = None) -> None:
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
        # adb can report success after the disk filled up.
        if (there := self._size(remote)) != done:
            raise CommandFailed(self.name, argv, 1, stderr=f"{there} bytes arrived of {done}: is the phone full?")

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """See Target.append."""
        with self._translated(["append", remote]):
            append(self._device, self.name, source, remote, start, progress, SYNC_TIMEOUT_S)

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull."""
        argv, total, done = ["pull", remote], self._size(remote), 0
        with (
            self._translated(argv),
            arriving(destination) as part,
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

    def _size(self, remote: str) -> int:
        """Asked of a shell: the sync protocol tells sizes in 32 bits, and models are larger."""
        return int(self.run(["stat", "-L", "-c", "%s", remote]).stdout)

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
        except (AdbError, EOFError, ConnectionError, subprocess.SubprocessError) as error:
            raise TargetLost(f"{self.name}: the connection broke during `{doing}`: {error}") from error


def _sync_packet(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4, "little") + data


def attached(host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> dict[str, str]:
    """The phones of an adb server: serial -> state (`device`, `unauthorized`, `offline`, ...).

    Raises NoPhone when there is no server and none can be started.
    """
    try:
        with _client(host, port).make_connection() as connection:
            connection.send_command("host:devices")
            connection.check_okay()
            return parse_listing(connection.read_string_block())
    except (AdbError, OSError, subprocess.SubprocessError) as error:
        raise NoPhone(f"no adb server at {host}:{port}, and none could be started: {error}") from error


def attached_already(port: int = DEFAULT_PORT) -> dict[str, str]:
    """As `attached`, of the server of this machine if one runs: none is started. Raises NoPhone."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=LOOK_TIMEOUT_S).close()
    except OSError:
        return {}
    return attached(port=port)


def parse_listing(listing: str) -> dict[str, str]:
    """What `adb devices` lists: serial -> state, which can be several words ("no permissions (...)")."""
    return dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)


def check_ready(serial: str, state: str) -> None:
    """Raises NoPhone unless `state` is one in which a phone can work, saying what to do."""
    if state != "device":
        raise NoPhone(f"the phone {serial} is there, but adb calls it `{state}`: {what_to_do(state)}")


def what_to_do(state: str) -> str:
    """About a phone that adb lists in this state."""
    if "no permissions" in state:
        return f"this user may not open the USB device: {system.this().mend('udev')}, then plug it in again"
    return next((text for word, text in WHAT_TO_DO.items() if word in state), "plug it out and in again")


def connect(address: str, port: int = DEFAULT_PORT) -> None:
    """Have the adb server of this machine at `port` connect to a daemon on TCP, `host:port`.

    Raises NoPhone when it cannot.
    """
    client = _client("127.0.0.1", port)
    try:
        answer = client.connect(address, timeout=20)
        if "already" in answer and attached(port=port).get(address) == "offline":
            # What is left of a connection to a phone that went away and came back.
            client.disconnect(address)
            answer = client.connect(address, timeout=20)
    except (AdbError, OSError, subprocess.SubprocessError) as error:
        raise NoPhone(f"adb could not connect to {address}: {error}") from error
    if "connected to" not in answer:
        raise NoPhone(f"adb could not connect to {address}: {answer}")


def disconnect(address: str) -> None:
    """Have the local adb server forget `host:port`; other phones are left alone."""
    _client("127.0.0.1", DEFAULT_PORT).disconnect(address)


def _client(host: str, port: int) -> adbutils.AdbClient:
    _make_executable()
    return adbutils.AdbClient(host=host, port=port)


def _make_executable() -> None:
    """The adb inside the adbutils wheel comes without its executable bit, and is then not found."""
    bundled = Path(adbutils.__file__).parent / "binaries" / "adb"
    if bundled.exists() and not bundled.stat().st_mode & stat.S_IXUSR:
        bundled.chmod(bundled.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
