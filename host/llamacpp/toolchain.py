"""The toolchain of a build: an Android NDK, zig, or this machine's own compiler."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smoothdroid.device.common import system
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.llamacpp import elf

# In a checkout the file lies at the top, where people use it by hand; a wheel carries it beside this module.
_PLACES = (Path(__file__).parents[3], Path(__file__).parent)
TOOLCHAIN_FILE = next(
    place / "android-toolchain.cmake" for place in _PLACES if (place / "android-toolchain.cmake").exists()
)


STATIC = "static build: for a phone without bionic"


@dataclass(frozen=True)
class Toolchain:
    """A compiler, and the options of cmake that choose it."""

    id: str
    """Name and version, part of a build's identity; holds no path."""
    cmake: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    kind: Literal["host", "ndk", "zig"] = "host"
    why: str = ""
    """The reason for this one, in words."""
    runtime: Path | None = None
    """The NDK's C++ library that the libraries of one program share; None where it cannot be shipped."""


@dataclass(frozen=True)
class Decision:
    """The toolchain that android-toolchain.cmake chose."""

    kind: Literal["ndk", "zig"]
    ndk: Path | None
    why: str


def decide(abi: str, *, static: bool = False) -> Decision:
    """Choose the toolchain for `abi`; with `static`, the one whose programs need no loader, which is zig.

    android-toolchain.cmake, which people also use by hand, decides, so that there is one search for an NDK.
    Raises BadInput with the reason for an NDK that was named and cannot be used.
    """
    command = [program("cmake"), f"-DANDROID_ABI={abi}", *(["-DSMOOTHDROID_ROAD=zig"] if static else [])]
    command += ["-P", str(TOOLCHAIN_FILE)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode != 0:
        refusal = re.search(r"^\s*smoothdroid: (.*)$", done.stderr, re.MULTILINE)
        raise BadInput(refusal[1] if refusal else f"`{shlex.join(command)}` fails: {done.stderr.strip()}")
    decision = dict(re.findall(r"^-- smoothdroid-(\w+)=(.*)$", done.stdout, re.MULTILINE))
    ndk = Path(decision["NDK"]) if decision["NDK"] else None
    return Decision("ndk" if decision["ROAD"] == "ndk" else "zig", ndk, STATIC if static else decision["WHY"])


def for_abi(abi: str, *, static: bool = False) -> Toolchain:
    """Return the toolchain for `abi`: this machine's compiler for `host`, else an NDK, else zig.

    With `static` an NDK is not used. Raises BadInput when there is no toolchain, naming what to install.
    """
    if abi == "host":
        return _host()
    decided = decide(abi, static=static)
    return _ndk(decided.ndk, abi, decided.why) if decided.ndk else _zig(abi, decided.why)


def _host() -> Toolchain:
    compiler = shlex.split(os.environ.get("CXX") or "c++")  # split as cmake does: it may be `ccache c++`
    version = _answer([*compiler, "--version"], f"{system.this().fix('compiler')}, or set CXX to a C++ compiler")
    version = version.splitlines()[0]
    if of_c := os.environ.get("CC"):
        answer = _answer([*shlex.split(of_c), "--version"], "set CC to a C compiler, or unset it")
        version += f", {answer.splitlines()[0]}"
    # -march=native: what comes out depends on the CPU, so the CPU is part of the compiler's identity.
    cpu = hashlib.sha256(_cpu_flags().encode()).hexdigest()[:8]
    return Toolchain(f"{version} native-{cpu}")


def _file_id() -> str:
    """Return the toolchain file's part of an identity: ninja does not notice when the file's flags change."""
    return f"toolchain {sha256_of(TOOLCHAIN_FILE)[:8]}"


def _answer(command: list[str], advice: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise BadInput(f"`{shlex.join(command)}` does not run: {advice}") from error


def _cpu_flags() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return flags[1] if flags else ""


def _ndk(folder: Path, abi: str, why: str) -> Toolchain:
    properties = (folder / "source.properties").read_text(encoding="utf-8")
    revision = re.search(r"^Pkg\.Revision *= *(\S+)", properties, re.MULTILINE)
    if not revision:
        raise BadInput(f"{folder} names no Pkg.Revision: the NDK is broken, unpack it again")
    # NDK r26 and older have a shared C++ library that phones with pages of 16 KiB do not load. With these, each library
    # gets its own C++ library, which is wrong only where an exception leaves the library that threw it.
    triple = {"arm64-v8a": "aarch64-linux-android", "x86_64": "x86_64-linux-android"}[abi]
    shared = sorted(folder.glob(f"toolchains/llvm/prebuilt/*/sysroot/usr/lib/{triple}/libc++_shared.so"))
    runtime = shared[0] if shared and elf.read(shared[0]).alignment_bytes >= elf.PAGE_BYTES else None
    return Toolchain(
        f"NDK {revision[1]}, {_file_id()}",
        (
            f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN_FILE}",
            "-DSMOOTHDROID_ROAD=ndk",
            f"-DSMOOTHDROID_NDK={folder}",
            f"-DANDROID_ABI={abi}",
        ),
        kind="ndk",
        why=why,
        runtime=runtime,
    )


def _zig(abi: str, why: str) -> Toolchain:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise BadInput(f"no zig ({why}): {system.this().fix('zig')}, or set ANDROID_NDK")
    zig = Path(spec.origin).with_name("zig")
    version = _answer([str(zig), "version"], "`pip install --force-reinstall ziglang`, or set ANDROID_NDK")
    return Toolchain(
        f"zig {version}, {_file_id()}",
        (
            f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN_FILE}",
            "-DSMOOTHDROID_ROAD=zig",
            f"-DSMOOTHDROID_ZIG={zig}",
            f"-DANDROID_ABI={abi}",
        ),
        # zig's C and C++ libraries are built once, in the user's cache of them where there is one.
        {"ZIG_GLOBAL_CACHE_DIR": os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(cache_root() / "zig")},
        kind="zig",
        why=why,
    )


def program(name: str) -> str:
    """Return the path of cmake or ninja: pip's, beside this Python, else the one on PATH. Raises BadInput without."""
    installed_by_pip = Path(sys.executable).parent / name
    path = str(installed_by_pip) if installed_by_pip.exists() else shutil.which(name)
    if not path:
        raise BadInput(f"{name} is not installed: {system.this().fix(name)}")
    return path
