"""Shell completion: starts no server, waits for no phone, and offers nothing where it knows nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import get_args

import typer

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.info import socs
from smoothdroid.device.transport import adb
from smoothdroid.host.gguf.file_types import BLOCKS, FILE_TYPES, HEADS
from smoothdroid.host.llamacpp import variants
from smoothdroid.host.model.provenance.manifest import Kernel

Offered = Iterator[tuple[str, str]]
"""A value, and the description that some shells show beside it."""


AFTER = "_SMOOTHDROID_COMPLETE_AFTER"
"""The environment variable with the part of a word that bash has already, where it wants only the rest."""


def targets() -> Offered:
    """Yield the targets of phones."""
    after = os.environ.get(AFTER, "")
    yield from ((way[len(after) :], says) for way, says in _ways() if way.startswith(after))


def _ways() -> Offered:
    """Yield the emulated phones that run, and the phones of an adb server that runs already."""
    emulated = virtual.running()
    for phone in emulated:
        yield f"virtual:{phone.name}", f"emulated, over adb: {phone.profile}"
        yield f"virtual:{phone.name}/ssh", f"emulated, over SSH: {phone.profile}"
    try:
        attached = adb.attached_already()
    except SmoothdroidError:
        attached = {}
    for serial, state in attached.items():
        if serial not in {phone.adb_address for phone in emulated}:
            yield f"adb:{serial}", state if state != "device" else "attached"
    yield "local:", "this machine"


def emulated_phones() -> Offered:
    """Yield the emulated phones that run."""
    yield from ((phone.name, phone.profile) for phone in virtual.running())


def profiles() -> Offered:
    """Yield the profiles of phones that can be emulated."""
    yield from ((name, "") for name in virtual.profiles())


def abis() -> Offered:
    """Yield the ABIs that smoothdroid builds for."""
    yield from ((abi, "this machine" if abi == "host" else "") for abi in variants.ABIS)


def isas(ctx: typer.Context) -> Offered:
    """Yield ISA levels, only of the ABI where one is named."""
    abi = ctx.params.get("abi")
    for variant in (*variants.VARIANTS, *variants.SHARED):
        if abi in (None, variant.abi):
            yield variant.isa, variant.abi


def soc_names() -> Offered:
    """Yield the SoCs whose memory is known."""
    yield from ((code, soc.name) for soc in socs.everything() for code in soc.codes)


def types(incomplete: str) -> Offered:
    """Yield the types that a GGUF can be written as; after a comma, the types not yet named."""
    before, comma, _ = incomplete.rpartition(",")
    yield from ((before + comma + name, "") for name in FILE_TYPES if name not in before.split(","))


def tensor_types() -> Offered:
    """Yield the types that all matrices of a GGUF can have."""
    yield from ((name, "") for name in FILE_TYPES if name in BLOCKS)


def heads() -> Offered:
    """Yield the types that the head of a GGUF can be written as."""
    yield from ((name, "") for name in HEADS)


def kernels() -> Offered:
    """Yield the kernels whose arithmetic can be emulated."""
    yield from ((name, "") for name in get_args(Kernel))


def plans(incomplete: str) -> Offered:
    """Yield TOML files, and folders that may hold one."""
    start = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    prefix = incomplete[: incomplete.rfind("/") + 1]
    try:
        for path in sorted(start.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield f"{prefix}{path.name}/", ""
            elif path.suffix == ".toml":
                yield f"{prefix}{path.name}", ""
    except OSError:
        return


def rejoin_bash_words(environment: MutableMapping[str, str]) -> None:
    """Join words that bash split at `:` and `=`: it passes `--on=virtual:de` as --on, =, virtual, :, de.

    Readline keeps the part before the last colon and wants only the rest: that part is removed, and kept in AFTER.
    """
    current = int(environment["COMP_CWORD"])
    joined: list[str] = []
    for word in environment["COMP_WORDS"].split("\n")[: current + 1]:
        last = joined[-1] if joined else ""
        if word == "=" and last.startswith("--"):
            joined.append("")
        elif word == ":" or (last.endswith(":") and word and not word.startswith("-")):
            joined[-1:] = [last + word]
        elif joined and not last and word:  # what comes after `=`
            joined[-1] = word
        else:
            joined.append(word)
    before, colon, joined[-1] = joined[-1].rpartition(":")
    rejoined = {AFTER: before + colon, "COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1)}
    environment.update(rejoined)
