"""Phones of other machines, through Dask: for the controller, Targets like any other.

What is durable is the phone, whose runner works alone, and the record here. Everything between may break: a worker
killed, a scheduler restarted, a network cut are all TargetLost, and a session takes up what the phone did meanwhile.
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
from smoothdroid.host.farm import lab
from smoothdroid.host.farm.member import Member

SMALL_BYTES = 1 << 20  # goes with the call itself
PIECE_BYTES = 8 << 20
CONNECT_S = 10.0
LOOK_S = 2.0  # how often a call that waits looks whether the lab machine is still there
GONE_S = 10.0  # away for so long, and its call is given up: a worker that was restarted is back sooner
MARGIN_S = 40.0  # over what a call itself may take
CALL_S = 60.0
PUSH_S = 3600.0  # of a large file, from the lab machine to the phone


class Farm:
    """The scheduler at one address, and what it leads to."""

    def __init__(self, address: str) -> None:
        """Connects when asked. Raises BadInput for what is no address."""
        lab.meeting_point(address)
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._address = address
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._sending: dict[tuple[str, str], threading.Lock] = {}

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._client:
                self._client.close(timeout=CONNECT_S)

    def members(self, names: Collection[str] = ()) -> list[Member]:
        """The phones that the lab machines announce, or those of these names (LAB/PHONE).

        Raises NoPhone when there are none or the scheduler does not answer, BadInput for a name that is not there.
        """
        try:
            answers = self._connected().run(lab.told, on_error="ignore")
        except (TargetLost, OSError, TimeoutError) as error:
            raise NoPhone(
                f"{self._address} does not answer: {error}. Does `smoothdroid farm scheduler` run?"
            ) from error
        ours = version("smoothdroid")
        found: dict[str, Member] = {}
        for worker in answers.values():
            if worker["version"] != ours:
                raise BadInput(f"{worker['lab']} runs smoothdroid {worker['version']}, and here it is {ours}")
            for phone in worker["phones"]:
                name = lab.resource(worker["lab"], phone["name"])
                opened = partial(self.open, worker["lab"], phone["name"])
                found[name] = Member(name, phone["on"], opened, phone["labels"], phone["models"])
        if not found:
            raise NoPhone(f"no lab machine lends a phone to {self._address}: `smoothdroid farm worker` there does")
        if unknown := [name for name in names if name not in found]:
            raise BadInput(f"the farm has no phone {unknown[0]}; it has {', '.join(sorted(found))}")
        return [found[name] for name in sorted(found) if not names or name in names]

    def open(self, machine: str, phone: str) -> Target:
        """Take hold of a phone. Raises as smoothdroid.device.transport.resolve.open_target does over there."""
        return RemoteTarget(self, machine, phone)

    def ask(self, machine: str, phone: str, verb: str, *arguments: Any, timeout_s: float = CALL_S) -> Any:  # noqa: ANN401
        """See lab.ask. Raises what it raised there, TargetLost and TargetTimeout."""
        where = lab.resource(machine, phone)
        client = self._connected()
        future = client.submit(lab.ask, phone, verb, *arguments, pure=False, retries=0, resources={where: 1})
        try:
            word, value = self._awaited(client, future, where, time.monotonic() + timeout_s + MARGIN_S)
        except (CancelledError, KilledWorker, OSError) as error:
            raise TargetLost(f"{where}: the farm lost the call ({type(error).__name__})") from error
        finally:
            future.release()
        if word == "done":
            return value
        raise unpacked(word, value)

    def sha256(self, file: Path) -> str:
        """A file's hash, computed once."""
        status = file.stat()
        key = file, status.st_size, status.st_mtime_ns
        if key not in self._hashes:
            self._hashes[key] = sha256_of(file)
        return self._hashes[key]

    def sending(self, machine: str, sha256: str) -> threading.Lock:
        """Held by who sends a file to a lab machine: to the same one it goes once, to others at the same time."""
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
                    raise TargetLost(f"{where}: the lab machine is gone") from None
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


def unpacked(name: str, made_of: list[Any]) -> SmoothdroidError:
    """The error that lab.packed packed."""
    if name == "CommandFailed":
        target, argv, status, stdout, stderr = made_of
        return CommandFailed(target, argv, status, stdout, stderr)
    kind = getattr(errors, name, SmoothdroidError)
    return kind(*made_of)


class RemoteTarget:
    """A phone of another machine."""

    def __init__(self, farm: Farm, machine: str, phone: str) -> None:
        """Take hold of it. `name` is the one that it has over there: the way is the same, only longer."""
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
        """See Target.run. `on_output` hears all at the end; what is `tied` dies with the lab machine's connection."""
        status, stdout, stderr = self._ask(
            "run", list(argv), dict(env) if env else None, timeout_s, check, tied, timeout_s=timeout_s
        )
        if on_output and stdout:
            on_output(stdout)
        return Completed(status, stdout, stderr)

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """See Target.push. A large file goes to the lab machine first, once, and `progress` is of that."""
        size = source.stat().st_size
        if size <= SMALL_BYTES:
            self._ask("push", source.read_bytes(), remote, mode)
        else:
            self._ask("push_kept", self._kept(source, progress), remote, mode, timeout_s=PUSH_S)
        if progress:
            progress(size, size)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """See Target.append. The file goes to the lab machine first, once, and `progress` is of that."""
        self._ask("append_kept", self._kept(source, progress), remote, start, timeout_s=PUSH_S)

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull."""
        destination.write_bytes(self._ask("pull", remote))

    def close(self) -> None:
        """The lab machine keeps its connection."""

    def _kept(self, source: Path, progress: Progress | None) -> str:
        """The hash of a file that the lab machine then has."""
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
