"""What the shell offers at Tab. It starts nothing, waits for nobody, and is silent where it knows nothing."""

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
from smoothdroid.host.llamacpp import variants
from smoothdroid.host.model.provenance.manifest import Kernel, Quantisation

Offered = Iterator[tuple[str, str]]
"""A value, and what a shell with room for it says beside it."""


AFTER = "_SMOOTHDROID_COMPLETE_AFTER"
"""Where bash wants only the rest of a word: what stands before it."""


def targets() -> Offered:
    """Ways to a phone."""
    after = os.environ.get(AFTER, "")
    yield from ((way[len(after) :], says) for way, says in _ways() if way.startswith(after))


def _ways() -> Offered:
    """The emulated phones that run, and what an adb server that runs already has attached."""
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
    """Those that run."""
    yield from ((phone.name, phone.profile) for phone in virtual.running())


def profiles() -> Offered:
    """Phones that can be emulated."""
    yield from ((name, "") for name in virtual.profiles())


def abis() -> Offered:
    """ABIs that there are builds for."""
    yield from ((abi, "this machine" if abi == "host" else "") for abi in variants.ABIS)


def isas(ctx: typer.Context) -> Offered:
    """ISA levels, of the ABI where one is named."""
    abi = ctx.params.get("abi")
    for variant in (*variants.VARIANTS, *variants.SHARED):
        if abi in (None, variant.abi):
            yield variant.isa, variant.abi


def soc_names() -> Offered:
    """SoCs whose memory is known."""
    yield from ((code, soc.name) for soc in socs.everything() for code in soc.codes)


def types(incomplete: str) -> Offered:
    """What a GGUF can be written as; after a comma another one."""
    before, comma, _ = incomplete.rpartition(",")
    yield from ((before + comma + name, "") for name in get_args(Quantisation) if name not in before.split(","))


def kernels() -> Offered:
    """Whose arithmetic can be emulated."""
    yield from ((name, "") for name in get_args(Kernel))


def plans(incomplete: str) -> Offered:
    """TOML files, and folders on the way to one."""
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


def mend_bash_words(environment: MutableMapping[str, str]) -> None:
    """bash ends words at `:` and `=`, as Tab finds them: `--on=virtual:de` is --on, =, virtual, :, de.

    What stands before the last colon readline keeps, and wants only the rest: it is taken off, and left in AFTER.
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
    mended = {AFTER: before + colon, "COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1)}
    environment.update(mended)
