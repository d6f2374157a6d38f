"""Phones of other machines, through Dask: on the workstation, Targets like any other.

The phone, whose runner works by itself, and the record on the workstation are durable. Everything between may break: a
worker killed, a scheduler restarted or a network cut is a TargetLost, after which a session resumes the phone's job.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from smoothdroid.device.common import errors
from smoothdroid.device.common.errors import (
    BadInput,
    CommandFailed,
    NoPhone,
    SmoothdroidError,
    TargetLost,
    TargetTimeout,
)
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.transport.target import Completed, OnOutput, Progress, Target
from smoothdroid.host.common.suggest import did_you_mean
from smoothdroid.host.farm import lab
from smoothdroid.host.farm.member import Member

SMALL_BYTES = 1 << 20  # goes with the call itself
PIECE_BYTES = 8 << 20
CONNECT_S = 10.0
LOOK_S = 2.0  # how often a waiting call checks that the lab machine is still connected
GONE_S = 10.0  # a call is given up when its lab machine is away this long; a restarted worker is back sooner
MARGIN_S = 40.0  # added to the time that a call itself may take
CALL_S = 60.0
PUSH_S = 3600.0  # for a large file, from the lab machine to the phone


class Farm:
    """The phones that lab machines lend to the scheduler at one address."""

    def __init__(self, address: str) -> None:
        """Take the scheduler at `address`, and connect when first needed. Raises BadInput for a wrong address."""
        lab.meeting_point(address)
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._address = address
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._sending: dict[tuple[str, str], threading.Lock] = {}

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client:
                self._client.close(timeout=CONNECT_S)

    def members(self, names: Collection[str] = ()) -> list[Member]:
        """Return the phones that the lab machines announce, or those of these names (LAB/PHONE).

        Raises NoPhone when there are none or the scheduler does not answer, BadInput for an unknown name.
        """
        try:
            answers = self._connected().run(lab.description, on_error="ignore")
        except (TargetLost, OSError, TimeoutError) as error:
            raise NoPhone(
                f"{self._address} does not answer: {error}. Is `smoothdroid farm scheduler` running there?"
            ) from error
        ours = version("smoothdroid")
        members: dict[str, Member] = {}
        for worker in answers.values():
            if worker["version"] != ours:
                raise BadInput(
                    f"{worker['lab']} runs smoothdroid {worker['version']}, but this machine runs {ours}: "
                    "install the same version"
                )
            for phone in worker["phones"]:
                name = lab.resource(worker["lab"], phone["name"])
                opened = partial(self.open, worker["lab"], phone["name"])
                members[name] = Member(name, phone["on"], opened, phone["labels"], phone["models"])
        if not members:
            raise NoPhone(f"no lab machine lends a phone to {self._address}: run `smoothdroid farm worker` on one")
        if unknown := [name for name in names if name not in members]:
            raise BadInput(f"the farm has no phone {unknown[0]}; {did_you_mean(unknown[0], sorted(members))}")
        return [members[name] for name in sorted(members) if not names or name in names]

    def open(self, machine: str, phone: str) -> Target:
        """Connect to a phone. Raises as smoothdroid.device.transport.resolve.open_target does on the lab machine."""
        return RemoteTarget(self, machine, phone)

    def ask(self, machine: str, phone: str, verb: str, *arguments: Any, timeout_s: float = CALL_S) -> Any:  # noqa: ANN401
        """Make a call on a lab machine and return its value. Raises the call's error, TargetLost or TargetTimeout."""
        where = lab.resource(machine, phone)
        client = self._connected()
        future = client.submit(lab.ask, phone, verb, *arguments, pure=False, retries=0, resources={where: 1})
        try:
            status, value = self._awaited(client, future, where, time.monotonic() + timeout_s + MARGIN_S)
        except (CancelledError, KilledWorker, OSError) as error:
            raise TargetLost(f"{where}: the farm lost the call ({type(error).__name__})") from error
        finally:
            future.release()
        if status == "done":
            return value
        raise unpacked(status, value)

    def sha256(self, file: Path) -> str:
        """Return a file's hash, computed once for each version of the file."""
        status = file.stat()
        key = file, status.st_size, status.st_mtime_ns
        if key not in self._hashes:
            self._hashes[key] = sha256_of(file)
        return self._hashes[key]

    def sending(self, machine: str, sha256: str) -> threading.Lock:
        """Return the lock for sending a file to a lab machine: sent once to each, to several at the same time."""
        with self._lock:
            return self._sending.setdefault((machine, sha256), threading.Lock())

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None or self._client.status in ("closed", "closing"):
                try:
                    self._client = Client(self._address, timeout=CONNECT_S, set_as_default=False)
                except (OSError, TimeoutError, ValueError) as error:
                    raise TargetLost(f"the scheduler {self._address} does not answer: {error}") from error
            return self._client

    def _awaited(self, client: Client, future: Future[lab.Reply], where: str, deadline: float) -> lab.Reply:
        seen = time.monotonic()
        while True:
            try:
                reply: lab.Reply = future.result(timeout=LOOK_S)
                return reply
            except TimeoutError:
                now = time.monotonic()
                if _announced(client, where):
                    seen = now
                if now > seen + GONE_S:
                    future.cancel(force=True)
                    raise TargetLost(f"{where}: the lab machine is no longer connected") from None
                if now > deadline:
                    future.cancel(force=True)
                    raise TargetTimeout(f"{where}: the lab machine did not answer in time") from None


def _announced(client: Client, where: str) -> bool:
    if client.status != "running":
        return False
    try:
        workers = client.scheduler_info()["workers"]
    except (OSError, TimeoutError, CancelledError):
        return False
    return any(where in worker["resources"] for worker in workers.values())


def unpacked(name: str, arguments: list[Any]) -> SmoothdroidError:
    """Return the error that lab.packed turned into values."""
    if name == "CommandFailed":
        target, argv, status, stdout, stderr = arguments
        return CommandFailed(target, argv, status, stdout, stderr)
    kind = getattr(errors, name, SmoothdroidError)
    return kind(*arguments)


class RemoteTarget:
    """A connection to a phone of another machine."""

    def __init__(self, farm: Farm, machine: str, phone: str) -> None:
        """Connect to it. `name` is the target's name on the lab machine."""
        self._farm, self._machine, self._phone = farm, machine, phone
        self.kind, self.name, self.root = self._ask("open")

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
        """Run a command as Target.run does; `on_output` gets all at the end, `tied` is to the lab machine's process."""
        status, stdout, stderr = self._ask(
            "run", list(argv), dict(env) if env else None, timeout_s, check, tied, timeout_s=timeout_s
        )
        if on_output and stdout:
            on_output(stdout)
        return Completed(status, stdout, stderr)

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """Push a file as Target.push does; a large one goes to the lab machine first, which `progress` shows."""
        size = source.stat().st_size
        if size <= SMALL_BYTES:
            self._ask("push", source.read_bytes(), remote, mode)
        else:
            self._ask("push_blob", self._in_blob_cache(source, progress), remote, mode, timeout_s=PUSH_S)
        if progress:
            progress(size, size)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """Append to a file as Target.append does; it goes to the lab machine first, which `progress` shows."""
        self._ask("append_blob", self._in_blob_cache(source, progress), remote, start, timeout_s=PUSH_S)

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Pull a file as Target.pull does."""
        destination.write_bytes(self._ask("pull", remote))

    def close(self) -> None:
        """Do nothing: the lab machine keeps its connection."""

    def _in_blob_cache(self, source: Path, progress: Progress | None) -> str:
        """Send a file to the lab machine unless it is there, and return its hash."""
        sha256 = self._farm.sha256(source)
        with self._farm.sending(self._machine, sha256):
            self._send(source, sha256, progress)
        return sha256

    def _send(self, source: Path, sha256: str, progress: Progress | None) -> None:
        there, size = self._ask("there", sha256), source.stat().st_size
        with source.open("rb") as file:
            while there < size:
                file.seek(there)
                there = self._ask("take", sha256, there, file.read(PIECE_BYTES), size)
                if progress:
                    progress(there, size)

    def _ask(self, verb: str, *arguments: Any, timeout_s: float = CALL_S) -> Any:  # noqa: ANN401
        return self._farm.ask(self._machine, self._phone, verb, *arguments, timeout_s=timeout_s)
