"""A phone over adb, through the adb server that runs or the one that adbutils brings."""

from __future__ import annotations

import codecs
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import adbutils
from adbutils.errors import AdbError, AdbTimeout

from device.errors import CommandFailed, NoPhone, TargetLost, TargetTimeout
from device.target import Completed, OnOutput, Progress, command_line

ROOT = "/data/local/tmp/smoothdroid"
DEFAULT_PORT = 5037

# Packet ids of adb's shell protocol, version 2 (AOSP, packages/modules/adb/shell_protocol.h).
STDOUT, STDERR, EXIT = 1, 2, 3

WHAT_TO_DO = {
    "unauthorized": 'unlock the phone and accept this computer\'s key ("Allow USB debugging?"), then try again',
    "authorizing": "the phone is still thinking about this computer's key; look at its screen, then try again",
    "offline": "plug it out and in again; if that is not enough, turn USB debugging off and on",
    "no permissions": "this user may not open the USB device: install udev rules for Android (Debian: "
    "android-sdk-platform-tools-common), then plug it in again",
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
        output = {STDOUT: bytearray(), STDERR: bytearray()}
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._translated(argv), self._device.open_transport(timeout=timeout_s) as connection:
            connection.send_command(f"shell,v2,raw:{command_line(argv, env, tied=tied)}")
            connection.check_okay()
            while True:
                connection.conn.settimeout(max(deadline - time.monotonic(), 0.001))
                header = connection.read_exact(5)
                kind, length = header[0], int.from_bytes(header[1:], "little")
                data = connection.read_exact(length)
                if kind == EXIT:
                    exit_status = data[0]
                    break
                if kind in output:
                    output[kind] += data
                    if kind == STDOUT and on_output:
                        on_output(decoder.decode(data))
        done = Completed(
            exit_status, output[STDOUT].decode("utf-8", "replace"), output[STDERR].decode("utf-8", "replace")
        )
        if check and exit_status != 0:
            raise CommandFailed(self.name, argv, exit_status, done.stdout, done.stderr)
        return done

    def push(self, source: Path, remote: str, *, mode: int = 0o644, progress: Progress | None = None) -> None:
        """See Target.push."""
        with self._translated(["push", str(source), remote]), source.open("rb") as file:
            counted = _Counted(file, source.stat().st_size, progress)
            # check: adb can report success after the disk filled up, so the size is read back.
            self._device.sync.push(counted, remote, mode=stat.S_IMODE(mode), check=True)

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull."""
        with self._translated(["pull", remote]):
            total, done = self._device.sync.stat(remote).size, 0
            with destination.open("wb") as file:
                for chunk in self._device.sync.iter_content(remote):
                    file.write(chunk)
                    done += len(chunk)
                    if progress:
                        progress(done, total)

    def close(self) -> None:
        """See Target.close. Each command has a connection of its own, so nothing is held."""

    @contextmanager
    def _translated(self, argv: Sequence[str]) -> Iterator[None]:
        doing = " ".join(argv[:4])
        try:
            yield
        except (AdbTimeout, TimeoutError) as error:
            raise TargetTimeout(f"{self.name}: no answer in time to `{doing}`") from error
        except (AdbError, EOFError, ConnectionError, subprocess.SubprocessError) as error:
            raise TargetLost(f"{self.name}: the connection broke during `{doing}`: {error}") from error


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, total: int, progress: Progress | None) -> None:
        self._file, self._total, self._progress, self._done = file, total, progress, 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        # adbutils reads 4 KiB at a time: telling of each would cost more than sending it.
        if self._progress and (not data or self._done % (1 << 20) == 0):
            self._progress(self._done, self._total)
        return data


def attached(host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> dict[str, str]:
    """The phones of an adb server: serial -> state (`device`, `unauthorized`, `offline`, ...).

    Raises NoPhone when there is no server and none can be started.
    """
    try:
        return {info.serial: info.state for info in _client(host, port).list()}
    except (AdbError, OSError, subprocess.SubprocessError) as error:
        raise NoPhone(f"no adb server at {host}:{port}, and none could be started: {error}") from error


def check_ready(serial: str, state: str) -> None:
    """Raises NoPhone unless `state` is one in which a phone can work, saying what to do."""
    if state != "device":
        advice = next((text for word, text in WHAT_TO_DO.items() if word in state), "plug it out and in again")
        raise NoPhone(f"the phone {serial} is there, but adb calls it `{state}`: {advice}")


def connect(address: str) -> None:
    """Have the local adb server connect to a daemon on TCP, `host:port`. Raises NoPhone when it cannot."""
    try:
        answer = _client("127.0.0.1", DEFAULT_PORT).connect(address, timeout=20)
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
