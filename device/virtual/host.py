"""The requirements of an emulated phone on the workstation (Linux, Debian's tools, root), and commands as root."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from smoothdroid.device.common.errors import BadInput

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""The keys that Debian's archive is signed with."""

QEMU = Path("/usr/bin/qemu-aarch64-static")

_PACKAGES: dict[str, Callable[[], bool]] = {
    "mmdebstrap": lambda: shutil.which("mmdebstrap") is not None,
    "debian-archive-keyring": KEYRING.exists,
    "qemu-user-static": lambda: platform.machine() == "aarch64" or QEMU.exists(),
    "util-linux": lambda: shutil.which("unshare") is not None,
    "mount": lambda: shutil.which("mount") is not None,
}
"""Each Debian package -> a check for the part that is needed of it. An arm64 workstation needs no qemu."""


def missing_requirements() -> list[str]:
    """List why this machine cannot run an emulated phone, one sentence each; empty when it can."""
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
    """Raise BadInput, with every reason, when this machine cannot run an emulated phone."""
    missing = missing_requirements()
    if missing:
        raise BadInput("\n".join(missing))


def as_root(argv: Sequence[str]) -> list[str]:
    """Return the command as root runs it: unchanged for root, or else through sudo without a password prompt."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", "--", *argv]


def start_as_root(argv: Sequence[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    """Start the command as root, in a process group of its own, so that its children can be killed with it.

    It shares the session: sudo remembers a password per terminal.
    """
    return subprocess.Popen(
        as_root(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
    )


def kill_as_root(targets: Sequence[int]) -> list[str]:
    """Return the command that kills processes; a negative number is a process group.

    It uses the `kill` built into the shell: the program is in a package that a minimal machine lacks.
    """
    return as_root(["sh", "-c", 'kill -9 "$@"', "sh", *map(str, targets)])


def _sudo_works() -> bool:
    if shutil.which("sudo") is None:
        return False
    return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
