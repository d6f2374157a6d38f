"""What a campaign needs, on several phones, before it begins."""

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

Open = Callable[[str], Target]
LOOK_S = 0.2  # so often is looked for Ctrl-C
LAST_WORDS_S = 5.0  # after Ctrl-C; a phone that hashes a large model then is left to itself


@dataclass(frozen=True)
class Programs:
    """What runs on a phone, and what must lie beside each."""

    tools: Sequence[File]
    beside: Sequence[File]


class TransferProgress(Protocol):
    """A receiver of progress, from several phones at once."""

    def sending(self, way: str, name: str, done: int, total: int) -> None:
        """`done` of `total` bytes of a file are on the phone."""


@dataclass(frozen=True)
class DeployResult:
    """What became of one way to a phone."""

    way: str
    phone: Phone | None = None
    sent: tuple[str, ...] = ()
    """What had to be sent, or gone on with; the rest was there."""
    took_s: float = 0.0
    error: SmoothdroidError | None = None


def to_all(
    ways: Sequence[str],
    open_: Open,
    programs: Callable[[Target, Phone], Programs],
    models: Sequence[Artifact],
    watch: TransferProgress,
) -> list[DeployResult]:
    """Put programs and models on the phones of all `ways`, side by side; two ways to one phone one after the other.

    What goes wrong with one phone is in its DeployResult and keeps no other from its files. Ctrl-C stops all
    transfers where they are.
    """
    phones: dict[str, list[str]] = {}
    done: list[DeployResult] = []
    for way in ways:
        try:
            with closing(open_(way)) as target:
                phones.setdefault(describe(target).id, []).append(way)
        except SmoothdroidError as error:
            done.append(DeployResult(way, error=error))

    stopping, crashes = threading.Event(), list[BaseException]()

    def one_phone(its: list[str]) -> None:
        try:
            for way in its:
                done.append(_one_way(way, open_, programs, models, watch, stopping))
        except BaseException as error:  # a fault of ours, or Ctrl-C
            crashes.append(error)

    threads = [Worker(partial(one_phone, its)) for its in phones.values()]
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
    return sorted(done, key=lambda one: ways.index(one.way))


def _one_way(
    way: str,
    open_: Open,
    programs: Callable[[Target, Phone], Programs],
    models: Sequence[Artifact],
    watch: TransferProgress,
    stopping: threading.Event,
) -> DeployResult:
    began, sent, phone = time.monotonic(), dict[str, None](), None

    def heard(name: str) -> Callable[[int, int], None]:
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
                install(target, tool, needed.beside, progress=heard(tool[0].name))
            for model in models:
                upload.ensure(target, model.path, model.sha256, progress=heard(model.path.name), sampled=True)
    except SmoothdroidError as error:
        return DeployResult(way, phone, tuple(sent), time.monotonic() - began, error)
    return DeployResult(way, phone, tuple(sent), time.monotonic() - began)
