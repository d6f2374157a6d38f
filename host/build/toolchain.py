"""What compiles: an Android NDK, zig, or this machine's own compiler."""

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

from device.cache import cache_root
from device.errors import BadInput
from host.pypi import sha256_of

# In a checkout the file lies at the top, where people use it by hand; a wheel carries it beside this module.
_PLACES = (Path(__file__).parents[2], Path(__file__).parent)
TOOLCHAIN_FILE = next(
    place / "android-toolchain.cmake" for place in _PLACES if (place / "android-toolchain.cmake").exists()
)


@dataclass(frozen=True)
class Toolchain:
    """A compiler, as cmake is told of it."""

    id: str
    """Name and version, part of a build's identity; holds no path."""
    cmake: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


def for_abi(abi: str) -> Toolchain:
    """The toolchain for `abi`: this machine's for `host`, else the NDK when there is one, else zig.

    Raises BadInput when there is none, saying what to install.
    """
    if abi == "host":
        return _host()
    ndk = next(
        (os.environ[n] for n in ("ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT") if os.environ.get(n)),
        "",
    )
    return _ndk(Path(ndk).absolute(), abi) if ndk else _zig(abi)


def _host() -> Toolchain:
    compiler = shlex.split(os.environ.get("CXX") or "c++")  # split as cmake does: it may be `ccache c++`
    version = _answer([*compiler, "--version"], "`sudo apt-get install build-essential`, or set CXX to a C++ compiler")
    # -march=native: what comes out depends on the CPU, so the CPU is part of the compiler's identity.
    cpu = hashlib.sha256(_cpu_flags().encode()).hexdigest()[:8]
    return Toolchain(f"{version.splitlines()[0]} native-{cpu}")


def _file_id() -> str:
    """The toolchain file decides flags, and ninja does not see when the wrappers that it writes change."""
    return f"toolchain {sha256_of(TOOLCHAIN_FILE)[:8]}"


def _answer(command: list[str], advice: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise BadInput(f"`{shlex.join(command)}` does not run: {advice}") from error


def _cpu_flags() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return flags[1] if flags else ""


def _ndk(folder: Path, abi: str) -> Toolchain:
    properties = folder / "source.properties"
    if not (folder / "build/cmake/android.toolchain.cmake").exists() or not properties.exists():
        raise BadInput(
            f"ANDROID_NDK points to {folder}, which is no NDK (no build/cmake/android.toolchain.cmake or no "
            "source.properties). Point it to an unpacked NDK, or unset it to build with zig."
        )
    revision = re.search(r"Pkg\.Revision\s*=\s*(\S+)", properties.read_text())
    if not revision:
        raise BadInput(f"{properties} names no Pkg.Revision: the NDK is broken, unpack it again")
    return Toolchain(
        f"NDK {revision[1]}, {_file_id()}",
        (f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN_FILE}", f"-DANDROID_NDK={folder}", f"-DANDROID_ABI={abi}"),
    )


def _zig(abi: str) -> Toolchain:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise BadInput(
            "no NDK (ANDROID_NDK is not set) and no zig: `pip install 'smoothdroid[build]'`, or set ANDROID_NDK"
        )
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
        # zig's C and C++ libraries, made once for all: where the user keeps them, if anywhere.
        {"ZIG_GLOBAL_CACHE_DIR": os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(cache_root() / "zig")},
    )


def program(name: str) -> str:
    """cmake or ninja: the one beside this Python (pip's), else the one on PATH. Raises BadInput."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise BadInput(
            f"{name} is not installed: `pip install 'smoothdroid[build]'`, or apt-get install cmake ninja-build"
        )
    return found
