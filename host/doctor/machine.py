"""What this machine has and lacks."""

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

WORTH_MENTIONING_GIB = 10  # a 7B model's checkpoint and its Q8_0 need twice that
LITTLE_MEMORY_GIB = 2  # `prepare` of a 7B model held 1.75 GiB (README)

PHONES = ("devices", "bench", "run", "deploy")
"""The commands that reach phones. `evaluate` and `build` only do so when told."""
BUILDS = ("build", "bundle")


def examine(command: str | None = None) -> list[Check]:
    """Look at everything, or at what one command needs.

    Raises nothing, changes nothing but the adb server, which it may start.
    """
    checks = [
        _system(system.this()),
        _disk(),
        memory(),
        *phones(system.this()),
        _asked("cmake", _cmake, BUILDS),
        _asked("ninja", lambda: _version("ninja"), BUILDS),
        _asked("compiler for phones", lambda: for_abi("arm64-v8a").id, BUILDS),
        _asked("compiler for this machine", lambda: for_abi("host").id, ("evaluate",), optional=True),
        _packages("torch, transformers", ("torch", "transformers", "sentencepiece"), "torch", ("prepare", "sample")),
        _packages("Dask", ("distributed",), "dask", ("farm",), optional=True),
        _virtual(),
    ]
    return [check for check in checks if command is None or not check.needed_for or command in check.needed_for]


def _asked(what: str, ask: Callable[[], str], needed_for: tuple[str, ...], *, optional: bool = False) -> Check:
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
            "disk", "missing", f"{here} is not yours to write to", "set SMOOTHDROID_CACHE to a folder of yours"
        )
    if shutil.disk_usage(here).free < WORTH_MENTIONING_GIB * 2**30:
        return Check("disk", "warning", found, "make room, or set SMOOTHDROID_CACHE to a folder on a larger disk")
    return Check("disk", "ok", found)


def memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    """Linux alone tells without a library what is available."""
    text = meminfo.read_text(encoding="utf-8") if meminfo.exists() else ""
    available = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    needed_for = ("prepare", "build", "evaluate")
    if not available:
        return Check("memory", "ok", "not told by this system", "", needed_for)
    free_gib = int(available[1]) / 2**20
    found = f"{free_gib:.1f} GiB free"
    if free_gib < LITTLE_MEMORY_GIB:
        mend = "close what takes it, or add swap: a compiler or a model may be killed"
        return Check("memory", "warning", found, mend, needed_for)
    return Check("memory", "ok", found, "", needed_for)


def phones(
    known: system.System,
    ask_adb: Callable[[], dict[str, str]] = adb.attached,
    ask_usb: Callable[[], list[usb.UsbPhone]] = usb.plugged_in,
) -> list[Check]:
    """The adb server, each phone it has, and those at a cable that it does not have."""
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
    checks += [Check("adb", "warning", said, "unplug one, or name each by its id", PHONES) for said in twins.values()]
    seen = {*attached, *twins}
    checks += [_at_cable(plugged, known) for plugged in ask_usb() if plugged.serial not in seen]
    if len(checks) == 1:
        ways = [*([known.fix("usb-in-wsl")] if known.is_wsl else []), *FIRST_PHONE]
        checks.append(Check("phone", "warning", "none attached", "\n  ".join(["", *ways]), PHONES))
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
        mend = f"{known.fix('udev')}, then plug it in again"
        return Check(what, "warning", f"{phone.name}: this user may not open the USB device", mend, PHONES)
    return Check(what, "warning", f"{phone.name}: adb does not see it", "`adb kill-server`, then try again", PHONES)


def _version(name: str) -> str:
    """Raises BadInput when it is not there or does not run."""
    path = program(name)
    done = subprocess.run([path, "--version"], capture_output=True, encoding="utf-8", errors="replace", check=False)
    number = re.search(r"\d+(\.\d+)+", done.stdout)
    if done.returncode != 0 or not number:
        raise SmoothdroidError(f"`{path} --version` does not run: {system.this().fix(name)}")
    return number[0]


def _cmake() -> str:
    """Raises SmoothdroidError when it is older than the toolchain file takes."""
    version = _version("cmake")
    oldest = re.search(r"CMAKE_VERSION VERSION_LESS ([\d.]+)", TOOLCHAIN_FILE.read_text(encoding="utf-8"))
    if oldest and _numbers(version) < _numbers(oldest[1]):
        raise SmoothdroidError(f"{version} is too old, {oldest[1]} is needed: {system.this().fix('cmake')}")
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _packages(
    what: str, names: tuple[str, ...], need: str, needed_for: tuple[str, ...], *, optional: bool = False
) -> Check:
    """Looked for and not imported: that takes seconds."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        found = f"{', '.join(missing)} not installed"
        return Check(what, "missing", found, system.this().fix(need), needed_for, optional)
    return Check(what, "ok", "installed", "", needed_for, optional)


def _virtual() -> Check:
    if problems := virtual.missing_requirements():
        return Check("emulated phone", "missing", "cannot run here", "; ".join(problems), ("phone",), optional=True)
    return Check("emulated phone", "ok", "can run here", "", ("phone",), optional=True)
