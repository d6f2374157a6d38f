"""What running a phone asks of the workstation: Linux, Debian's tools, and root."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from smoothdroid.device.common.errors import BadInput

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""The keys that Debian's archive is signed with: what root trusts here."""

QEMU = Path("/usr/bin/qemu-aarch64-static")

_PACKAGES: dict[str, Callable[[], bool]] = {
    "mmdebstrap": lambda: shutil.which("mmdebstrap") is not None,
    "debian-archive-keyring": KEYRING.exists,
    "qemu-user-static": lambda: platform.machine() == "aarch64" or QEMU.exists(),
    "util-linux": lambda: shutil.which("unshare") is not None,
    "mount": lambda: shutil.which("mount") is not None,
}
"""Debian's package, and whether what this needs of it is there. An arm64 workstation needs no qemu."""


def missing_requirements() -> list[str]:
    """What keeps this machine from running an emulated phone, one sentence each; empty when nothing does."""
    if sys.platform != "linux":
        return [f"The emulated phone needs Linux; this is {platform.system()}."]
    if platform.machine() not in ("x86_64", "aarch64"):
        return [f"The emulated phone needs an x86_64 or arm64 machine; this is {platform.machine()}."]
    missing = []
    if not Path("/etc/debian_version").exists():
        missing.append("The emulated phone needs Debian or Ubuntu: it is made of Debian's packages.")
    if os.geteuid() != 0 and not _sudo_works():
        missing.append(
            "The emulated phone needs root: run as root, or let sudo work without a password "
            "(`sudo -v` first does, for a while)."
        )
    packages = [package for package, is_there in _PACKAGES.items() if not is_there()]
    if packages:
        missing.append(f"The emulated phone needs more packages: sudo apt install {' '.join(packages)}")
    return missing


def require_all() -> None:
    """Raises BadInput, with every reason, when this machine cannot run an emulated phone."""
    missing = missing_requirements()
    if missing:
        raise BadInput("\n".join(missing))


def as_root(argv: Sequence[str]) -> list[str]:
    """The command as root runs it: itself, or through sudo without a question."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", "--", *argv]


def start_as_root(argv: Sequence[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    """Start the command as root, in a process group of its own: what it starts can be ended with it.

    Not in a session of its own: sudo remembers a password per terminal.
    """
    # Python 3.10 has no better; setpgrp wants no lock that another thread may hold, so a fork beside threads is safe.
    group: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"preexec_fn": os.setpgrp}
    return subprocess.Popen(as_root(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **group)


def kill_as_root(targets: Sequence[int]) -> list[str]:
    """The command that kills processes, and with a negative number process groups.

    By the shell's own `kill`: the program of that name is in a package that a bare machine lacks.
    """
    return as_root(["sh", "-c", 'kill -9 "$@"', "sh", *map(str, targets)])


def _sudo_works() -> bool:
    if shutil.which("sudo") is None:
        return False
    return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
