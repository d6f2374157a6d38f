"""What this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device import adb, virtual
from device.cache import cache_root
from device.errors import SmoothdroidError
from host.build.toolchain import for_abi, program

WORTH_MENTIONING_GIB = 10  # a 7B model's checkpoint and its Q8_0 need twice that


@dataclass(frozen=True)
class Check:
    """One thing that some command needs."""

    needed_for: str
    what: str
    ok: bool
    detail: str
    """What was found, or what to do."""


def examine() -> list[Check]:
    """Look at everything; raises nothing, changes nothing but the adb server, which it may start."""
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Check("all", "Python 3.10 or newer", sys.version_info >= (3, 10), version),
        _disk(),
        _asked("bench, run", "adb", _adb),
        _asked("build", "cmake", lambda: program("cmake")),
        _asked("build", "ninja", lambda: program("ninja")),
        _asked("build", "compiler for phones", lambda: for_abi("arm64-v8a").id),
        _asked("build", "compiler for this machine", lambda: for_abi("host").id),
        _packages(),
        _virtual(),
    ]


def _asked(needed_for: str, what: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(needed_for, what, True, ask())
    except SmoothdroidError as error:
        return Check(needed_for, what, False, str(error))


def _adb() -> str:
    phones = adb.attached()
    return f"server runs, {len(phones)} attached" + "".join(f", {serial}: {state}" for serial, state in phones.items())


def _disk() -> Check:
    here = next(folder for folder in (cache_root(), *cache_root().parents) if folder.exists())
    free_gib = shutil.disk_usage(here).free / 2**30
    detail = f"{free_gib:.0f} GiB free for {cache_root()}"
    if free_gib < WORTH_MENTIONING_GIB:
        detail += "; set SMOOTHDROID_CACHE to a folder on a larger disk"
    return Check("all", "disk", free_gib >= WORTH_MENTIONING_GIB, detail)


def _packages() -> Check:
    missing = [name for name in ("torch", "transformers", "sentencepiece") if importlib.util.find_spec(name) is None]
    advice = f"{', '.join(missing)} not installed: `pip install 'smoothdroid[model]'`"
    return Check("prepare", "torch, transformers", not missing, advice if missing else "installed")


def _virtual() -> Check:
    problems = virtual.missing_requirements()
    return Check("phone", "emulated phone", not problems, "; ".join(problems) or f"can run on {_distribution()}")


def _distribution() -> str:
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    return next((line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), sys.platform)
