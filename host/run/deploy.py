"""Deploy programs and models to several phones at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.device.store import upload
from smoothdroid.device.store.program import File, install
from smoothdroid.device.transport.target import Target
from smoothdroid.host.common.threads import Worker
from smoothdroid.host.gguf.artifact import Artifact

COLUMNS = ["target", "phone", "sent", "took"]

Open = Callable[[str], Target]
LOOK_S = 0.2  # how often Ctrl-C is looked for
LAST_WORDS_S = 5.0  # after Ctrl-C; a phone that hashes a large model then is left to itself


@dataclass(frozen=True)
class Programs:
    """The programs that a phone gets, and the files that must lie beside each."""

    tools: Sequence[File]
    extra_files: Sequence[File]


class TransferProgress(Protocol):
    """A receiver of progress, from several phones at once."""

    def sending(self, way: str, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of a file are on the phone."""


@dataclass(frozen=True)
class DeployResult:
    """The result of a deployment to one target."""

    target: str
    phone: Phone | None = None
    sent: tuple[str, ...] = ()
    """The files that were sent, or continued; the others were there."""
    took_s: float = 0.0
    error: SmoothdroidError | None = None

    def facts(self) -> dict[str, object]:
        """Return the result for JSON."""
        error = str(self.error) if self.error else None
        return {"target": self.target, "sent": self.sent, "took_s": self.took_s, "error": error}

    def cells(self) -> list[str]:
        """Return the row's text for each of COLUMNS."""
        sent = str(self.error) if self.error else ", ".join(self.sent) or "nothing (all files were there)"
        return [self.target, self.phone.model if self.phone else "-", sent, f"{self.took_s:.1f} s"]


def to_all(
    targets: Sequence[str],
    open_: Open,
    programs: Callable[[Target, Phone], Programs],
    models: Sequence[Artifact],
    watch: TransferProgress,
) -> list[DeployResult]:
    """Put programs and models on the phones of all `targets` at once; two targets of one phone one after the other.

    An error of one phone is in its DeployResult and delays no other phone. Ctrl-C stops all
    transfers where they are.
    """
    phones: dict[str, list[str]] = {}
    done: list[DeployResult] = []
    for way in targets:
        try:
            with closing(open_(way)) as target:
                phones.setdefault(describe(target).id, []).append(way)
        except SmoothdroidError as error:
            done.append(DeployResult(way, error=error))

    stopping, crashes = threading.Event(), list[BaseException]()

    def to_phone(its_targets: list[str]) -> None:
        try:
            for way in its_targets:
                done.append(_to_target(way, open_, programs, models, watch, stopping))
        except BaseException as error:  # a bug, or Ctrl-C
            crashes.append(error)

    threads = [Worker(partial(to_phone, its_targets)) for its_targets in phones.values()]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while not thread.ended.wait(LOOK_S):
                pass
    except KeyboardInterrupt:
        stopping.set()
        for thread in threads:
            thread.ended.wait(LAST_WORDS_S)
        raise
    if crashes:
        raise crashes[0]
    return sorted(done, key=lambda result: targets.index(result.target))


def _to_target(
    way: str,
    open_: Open,
    programs: Callable[[Target, Phone], Programs],
    models: Sequence[Artifact],
    watch: TransferProgress,
    stopping: threading.Event,
) -> DeployResult:
    began, sent, phone = time.monotonic(), dict[str, None](), None

    def progress_of(name: str) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
            if stopping.is_set():
                raise KeyboardInterrupt
            sent[name] = None
            watch.sending(way, name, done, total)

        return progress

    try:
        with closing(open_(way)) as target:
            phone = describe(target)
            needed = programs(target, phone)
            for tool in needed.tools:
                install(target, tool, needed.extra_files, progress=progress_of(tool[0].name))
            for model in models:
                upload.ensure(target, model.path, model.sha256, progress=progress_of(model.path.name), sampled=True)
    except SmoothdroidError as error:
        return DeployResult(way, phone, tuple(sent), time.monotonic() - began, error)
    return DeployResult(way, phone, tuple(sent), time.monotonic() - began)
