"""What a campaign needs, on several phones, before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from device import store
from device.errors import SmoothdroidError
from device.phone import Phone, describe
from device.program import File, install
from device.target import Target
from host.bench.artifact import Artifact

Open = Callable[[str], Target]


@dataclass(frozen=True)
class Programs:
    """What runs on a phone, and what must lie beside each."""

    tools: Sequence[File]
    beside: Sequence[File]


class Watch(Protocol):
    """Is told how it goes; by several phones at once."""

    def sending(self, way: str, name: str, done: int, total: int) -> None:
        """`done` of `total` bytes of a file are on the phone."""


@dataclass(frozen=True)
class Deployed:
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
    watch: Watch,
) -> list[Deployed]:
    """Put programs and models on the phones of all `ways`, side by side; two ways to one phone one after the other.

    What goes wrong with one phone is in its Deployed and keeps no other from its files.
    """
    phones: dict[str, list[str]] = {}
    broken: list[Deployed] = []
    for way in ways:
        try:
            with closing(open_(way)) as target:
                phones.setdefault(describe(target).id, []).append(way)
        except SmoothdroidError as error:
            broken.append(Deployed(way, error=error))

    def one_phone(its: list[str]) -> list[Deployed]:
        return [_one_way(way, open_, programs, models, watch) for way in its]

    with ThreadPoolExecutor(max_workers=max(len(phones), 1)) as threads:
        done = [one for part in threads.map(one_phone, phones.values()) for one in part]
    return sorted([*done, *broken], key=lambda one: ways.index(one.way))


def _one_way(
    way: str, open_: Open, programs: Callable[[Target, Phone], Programs], models: Sequence[Artifact], watch: Watch
) -> Deployed:
    began, sent, phone = time.monotonic(), dict[str, None](), None

    def heard(name: str) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
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
                store.ensure(target, model.path, model.sha256, progress=heard(model.path.name))
    except SmoothdroidError as error:
        return Deployed(way, phone, tuple(sent), time.monotonic() - began, error)
    return Deployed(way, phone, tuple(sent), time.monotonic() - began)
