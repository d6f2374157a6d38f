"""Checks of this machine: system, disk, memory, adb, compilers, Python packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from smoothdroid.device import virtual
from smoothdroid.device.common import system
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, NoPhone, SmoothdroidError
from smoothdroid.device.transport import adb
from smoothdroid.device.transport.resolve import FIRST_PHONE
from smoothdroid.host.doctor import usb
from smoothdroid.host.doctor.check import Check
from smoothdroid.host.llamacpp.toolchain import TOOLCHAIN_FILE, for_abi, program

LOW_DISK_GIB = 10  # a 7B model's checkpoint and its Q8_0 need twice that
LOW_MEMORY_GIB = 2  # `prepare` of a 7B model held 1.75 GiB (README)

PHONES = ("devices", "bench", "run", "deploy")
"""The commands that need a phone. `evaluate` and `build` use one only with `--on`."""
BUILDS = ("build", "bundle")


def examine(command: str | None = None) -> list[Check]:
    """Return the checks of this machine, or those that matter to one command.

    Nothing is changed, except that the adb server may be started. No problem raises an error.
    """
    checks = [
        _system(system.this()),
        _disk(),
        memory(),
        *phones(system.this()),
        _tried("cmake", _cmake, BUILDS),
        _tried("ninja", lambda: _version("ninja"), BUILDS),
        _tried("compiler for phones", lambda: for_abi("arm64-v8a").id, BUILDS),
        _tried("compiler for this machine", lambda: for_abi("host").id, ("evaluate",), optional=True),
        _packages("torch, transformers", ("torch", "transformers", "sentencepiece"), "torch", ("prepare", "sample")),
        _packages("Dask", ("distributed",), "dask", ("farm",), optional=True),
        _virtual(),
    ]
    return [check for check in checks if command is None or not check.needed_for or command in check.needed_for]


def _tried(what: str, ask: Callable[[], str], needed_for: tuple[str, ...], *, optional: bool = False) -> Check:
    try:
        return Check(what, "ok", ask(), "", needed_for, optional)
    except SmoothdroidError as error:
        return Check(what, "missing", "-", str(error), needed_for, optional)


def _system(known: system.System) -> Check:
    runs = sys.platform != "win32"
    found = f"{known.name}, Python {'.'.join(map(str, sys.version_info[:3]))}"
    return Check("system", "ok" if runs else "missing", found, "" if runs else known.fix("system"))


def _disk() -> Check:
    here = next(folder for folder in (cache_root(), *cache_root().parents) if folder.exists())
    found = f"{shutil.disk_usage(here).free / 2**30:.0f} GiB free for {cache_root()}"
    if not os.access(here, os.W_OK):
        return Check(
            "disk", "missing", f"{here} is not writable", "set SMOOTHDROID_CACHE to a folder that you can write to"
        )
    if shutil.disk_usage(here).free < LOW_DISK_GIB * 2**30:
        return Check("disk", "warning", found, "free some space, or set SMOOTHDROID_CACHE to a folder on a larger disk")
    return Check("disk", "ok", found)


def memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    """Return the check of free memory; only Linux reports it without a library."""
    text = meminfo.read_text(encoding="utf-8") if meminfo.exists() else ""
    available = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    needed_for = ("prepare", "build", "evaluate")
    if not available:
        return Check("memory", "ok", "not reported by this system", "", needed_for)
    free_gib = int(available[1]) / 2**20
    found = f"{free_gib:.1f} GiB free"
    if free_gib < LOW_MEMORY_GIB:
        fix = "close other programs or add swap: otherwise a compiler or `prepare` may be killed"
        return Check("memory", "warning", found, fix, needed_for)
    return Check("memory", "ok", found, "", needed_for)


def phones(
    known: system.System,
    ask_adb: Callable[[], dict[str, str]] = adb.attached,
    ask_usb: Callable[[], list[usb.UsbPhone]] = usb.plugged_in,
) -> list[Check]:
    """Return checks of the adb server, of each phone that it lists, and of the other phones at USB ports."""
    try:
        attached = ask_adb()
    except NoPhone as error:
        return [Check("adb", "missing", str(error), known.fix("adb"), PHONES)]
    except BadInput as error:  # a variable that names no server
        return [Check("adb", "missing", str(error), "unset it, or set it to the address of a server", PHONES)]
    checks = [Check("adb", "ok", f"the server runs, {len(attached)} attached", "", PHONES)]
    emulated = {phone.adb_address for phone in virtual.running()}
    checks += [_of_adb(serial, state, emulated=serial in emulated) for serial, state in attached.items()]
    twins = adb.twins() if any(serial.startswith("transport:") for serial in attached) else {}
    checks += [
        Check("adb", "warning", sentence, "unplug one, or name each by its ID", PHONES) for sentence in twins.values()
    ]
    seen = {*attached, *twins}
    checks += [_at_cable(plugged, known) for plugged in ask_usb() if plugged.serial not in seen]
    if len(checks) == 1:
        steps = [*([known.fix("usb-in-wsl")] if known.is_wsl else []), *FIRST_PHONE]
        checks.append(Check("phone", "warning", "none attached", "\n  ".join(["", *steps]), PHONES))
    return checks


def _of_adb(serial: str, state: str, *, emulated: bool) -> Check:
    if state == "device":
        return Check(f"phone {serial}", "ok", "authorised" + (", emulated" if emulated else ""), "", PHONES)
    return Check(f"phone {serial}", "warning", state, adb.what_to_do(state, serial), PHONES)


def _at_cable(phone: usb.UsbPhone, known: system.System) -> Check:
    what = f"phone {phone.serial}".strip()
    if not phone.debugging:
        return Check(what, "warning", f"{phone.name}, plugged in without USB debugging", FIRST_PHONE[0], PHONES)
    if not phone.openable:
        fix = f"{known.fix('udev')}, then unplug the phone and plug it back in"
        return Check(what, "warning", f"{phone.name}: this user may not open the USB device", fix, PHONES)
    return Check(what, "warning", f"{phone.name}: adb does not see it", "run `adb kill-server` and retry", PHONES)


def _version(name: str) -> str:
    """Return the version that a program prints. Raises SmoothdroidError when it is missing or does not run."""
    path = program(name)
    done = subprocess.run([path, "--version"], capture_output=True, encoding="utf-8", errors="replace", check=False)
    number = re.search(r"\d+(\.\d+)+", done.stdout)
    if done.returncode != 0 or not number:
        raise SmoothdroidError(f"`{path} --version` does not run: {system.this().fix(name)}")
    return number[0]


def _cmake() -> str:
    """Return cmake's version. Raises SmoothdroidError when it is older than the toolchain file requires."""
    version = _version("cmake")
    oldest = re.search(r"CMAKE_VERSION VERSION_LESS ([\d.]+)", TOOLCHAIN_FILE.read_text(encoding="utf-8"))
    if oldest and _numbers(version) < _numbers(oldest[1]):
        raise SmoothdroidError(f"{version} is too old; {oldest[1]} or newer is needed: {system.this().fix('cmake')}")
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _packages(
    what: str, names: tuple[str, ...], need: str, needed_for: tuple[str, ...], *, optional: bool = False
) -> Check:
    """Return the check of Python packages, which are looked for but not imported: that would take seconds."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        found = f"{', '.join(missing)} not installed"
        return Check(what, "missing", found, system.this().fix(need), needed_for, optional)
    return Check(what, "ok", "installed", "", needed_for, optional)


def _virtual() -> Check:
    if problems := virtual.missing_requirements():
        return Check("emulated phone", "missing", "cannot run here", "; ".join(problems), ("phone",), optional=True)
    return Check("emulated phone", "ok", "can run here", "", ("phone",), optional=True)
