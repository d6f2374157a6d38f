"""A lab machine: its phones as resources of a Dask worker, and the calls to them that run there.

The workstation uses these phones like its own, through host/farm/remote.py; here each call becomes a call of the
phone's Target. Errors go back as values, because not every exception survives serialisation.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Scheduler, Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.utils import get_ip

from smoothdroid.device.common.errors import BadInput, CommandFailed, SmoothdroidError, TargetLost, TargetTimeout
from smoothdroid.device.transport.target import Completed, Target
from smoothdroid.host.farm import blob_cache
from smoothdroid.host.farm.member import Member

SLOTS = 2  # calls at a time for a phone: one that follows its job, and one for Ctrl-C
RETRY_S = 1.0
SILENT = "60s"  # a worker silent for this long is dropped; it sends a heartbeat every second
NO_PAGE = "127.0.0.1:0"  # Dask serves its state over HTTP, on all addresses unless told otherwise

Reply = tuple[str, Any]
"""`done` and a value, or an error's name and its constructor's arguments."""


class LentPhones(WorkerPlugin):  # type: ignore[misc]  # Dask's has no types
    """The phones of a lab machine, in its worker process."""

    name = "phones"

    def __init__(self, lab: str, members: Sequence[Member]) -> None:
        """Lend `members` as the phones of the lab machine named `lab`."""
        self.lab, self.members = lab, {member.name: member for member in members}
        self._open: dict[str, Target] = {}
        self._lock = threading.Lock()

    def target(self, name: str) -> Target:
        """Return a connection to a phone, opened if needed. Raises as `Member.open`, BadInput for an unknown name."""
        if name not in self.members:
            raise BadInput(f"the lab machine {self.lab} has no phone {name}")
        with self._lock:
            if target := self._open.get(name):
                return target
        opened = self.members[name].open()
        with self._lock:
            return self._open.setdefault(name, opened)

    def forget(self, name: str) -> None:
        """Close a connection that broke."""
        with self._lock:
            broken = self._open.pop(name, None)
        if broken:
            broken.close()


def meeting_point(address: str) -> tuple[str, str, int]:
    """Return a scheduler's protocol, host and port. Raises BadInput for a wrong address, or no certificates for TLS."""
    try:
        url = urlsplit(address)
        protocol, host, port = url.scheme, url.hostname, url.port
    except ValueError:
        protocol, host, port = "", None, None
    if protocol not in ("tcp", "tls") or not host or not port:
        raise BadInput(f"{address} is not a scheduler's address: write tcp://HOST:8786 or tls://HOST:8786")
    if protocol == "tls" and not dask.config.get("distributed.comm.tls.ca-file"):
        raise BadInput(
            f"{address} needs certificates, which Dask's configuration names (~/.config/dask/farm.yaml): "
            "docs/architecture.md shows it under Many phones"
        )
    return protocol, host, port


def resource(lab: str, phone: str) -> str:
    """Return a phone's name among a worker's resources, and on the workstation."""
    return f"{lab}/{phone}"


def description(dask_worker: Worker) -> dict[str, Any]:
    """Return a worker's lab, version and phones. Dask passes the worker, because of the parameter's name."""
    here = _phones(dask_worker)
    return {
        "lab": here.lab,
        "version": version("smoothdroid"),
        "phones": [
            {"name": member.name, "on": member.on, "labels": list(member.labels), "models": list(member.models)}
            for member in here.members.values()
        ],
    }


def ask(phone: str, verb: str, *arguments: Any) -> Reply:  # noqa: ANN401 (bytes, numbers, texts)
    """Make one call of a phone's Target, or of the blob cache; return its value or its error as values."""
    here = _phones(get_worker())
    try:
        return "done", VERBS[verb](here.target(phone), *arguments)
    except (TargetLost, TargetTimeout) as error:
        here.forget(phone)
        return packed(error)
    except SmoothdroidError as error:
        return packed(error)


def packed(error: SmoothdroidError) -> Reply:
    """Return an error as values."""
    if isinstance(error, CommandFailed):
        return "CommandFailed", [error.target, error.argv, error.status, error.stdout, error.stderr]
    return type(error).__name__, [str(error)]


def _phones(worker: Worker) -> LentPhones:
    plugin = worker.plugins[LentPhones.name]
    if not isinstance(plugin, LentPhones):
        raise TypeError("this is not a worker of smoothdroid")
    return plugin


def _open(target: Target) -> list[str]:
    return [target.kind, target.name, target.root]


def _run(
    target: Target, argv: list[str], env: Mapping[str, str] | None, timeout_s: float, check: bool, tied: bool
) -> list[int | str]:
    done: Completed = target.run(argv, env=env, timeout_s=timeout_s, check=check, tied=tied)
    return [done.exit_status, done.stdout, done.stderr]


def _push(target: Target, content: bytes, remote: str, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        file.write_bytes(content)
        target.push(file, remote, mode=mode)


def _push_blob(target: Target, sha256: str, remote: str, mode: int) -> None:
    target.push(blob_cache.path(sha256), remote, mode=mode)


def _append_blob(target: Target, sha256: str, remote: str, start: int) -> None:
    target.append(blob_cache.path(sha256), remote, start)


def _pull(target: Target, remote: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        target.pull(remote, file)
        return file.read_bytes()


VERBS: dict[str, Callable[..., Any]] = {
    "open": _open,
    "run": _run,
    "push": _push,
    "push_blob": _push_blob,
    "append_blob": _append_blob,
    "pull": _pull,
    "there": lambda target, sha256: blob_cache.there(sha256),
    "take": lambda target, *piece: blob_cache.take(*piece),
}


def work(address: str, lab: str, members: Sequence[Member], say: Callable[[str], None]) -> None:
    """Lend the phones to the scheduler at `address` until Ctrl-C; wait for a scheduler that is unreachable."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    asyncio.run(_work(address, LentPhones(lab, members), say))


async def _work(address: str, phones: LentPhones, say: Callable[[str], None]) -> None:
    _, host, _ = meeting_point(address)
    resources = {resource(phones.lab, name): float(SLOTS) for name in phones.members}
    there: bool | None = None
    with tempfile.TemporaryDirectory(prefix="smoothdroid-worker-") as folder:
        while True:
            try:
                async with Worker(
                    address,
                    # Listen only at the address from which the scheduler is reached, not at all of them.
                    host=get_ip(host),
                    nthreads=SLOTS * len(resources) + 1,
                    resources=resources,
                    plugins=(phones,),
                    memory_limit=0,
                    dashboard_address=NO_PAGE,
                    local_directory=folder,
                ) as worker:
                    there = True
                    say(f"lending phones to {address}: {', '.join(resources)}")
                    await worker.finished()
            except (OSError, TimeoutError, RuntimeError) as error:
                if there is None:
                    say(f"{address} does not answer ({error}); retrying until it does")
                    there = False
            if there:
                say(f"lost {address}; retrying until it is back. Measurements on the phones continue")
                there = False
            await asyncio.sleep(RETRY_S)


def schedule(listen: str, say: Callable[[str], None]) -> None:
    """Run the scheduler until Ctrl-C. Raises BadInput when it cannot listen at that address."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    protocol, host, port = meeting_point(listen)
    if protocol == "tcp" and not _is_loopback(host):
        say(f"anyone who can reach {listen} can run programs on all machines of the farm. Use tls:// on open networks")
    try:
        asyncio.run(_schedule(protocol, host, port, lambda: say(f"the scheduler listens at {listen}")))
    except (OSError, RuntimeError) as error:
        if not isinstance(error.__cause__ or error, OSError):
            raise
        raise BadInput(f"the scheduler cannot listen at {listen}: {error.__cause__ or error}") from error


async def _schedule(protocol: str, host: str, port: int, ready: Callable[[], None]) -> None:
    # The workstation repeats calls, because it knows which ones may be repeated.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-ttl": SILENT}):
        async with Scheduler(host=host, port=port, protocol=protocol, dashboard_address=NO_PAGE) as scheduler:
            ready()
            await scheduler.finished()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
