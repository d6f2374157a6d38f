"""This workstation's system, and the command that gets what it lacks. The commands are in data/mends.toml."""

from __future__ import annotations

import platform
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MENDS = Path(__file__).with_name("install_commands.toml")

KINDS = {"darwin": "macos", "win32": "windows"}
"""Python's name for a platform -> the block of mends.toml. Linux has many names; /etc/os-release tells them."""


@dataclass(frozen=True)
class System:
    """What the workstation runs."""

    name: str
    """For people: `Debian GNU/Linux 12 (bookworm)`."""
    block: str | None
    """Of mends.toml; None where there is none for it."""
    is_wsl: bool = False
    """Linux inside Windows, which shows it no USB device unless told."""

    def mend(self, need: str) -> str:
        """What to do about a need of mends.toml: commands of this system, else what is needed in words."""
        mends = _mends()
        block: dict[str, Any] = mends.get(self.block, {}) if self.block else {}
        ways = []
        if command := block.get("commands", {}).get(need):
            ways.append(f"`{command}`")
        elif packages := block.get(need):
            ways.append(f"`{block['install']} {packages}`")
        elif need in mends["needs"]:
            ways.append(mends["needs"][need])
        if extra := mends["pip"].get(need):
            ways.append(f"`pip install 'smoothdroid[{extra}]'`")
        return ", or ".join(ways) or f"install {need}"


@cache
def this() -> System:
    """The system that this program runs on."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return identify(sys.platform, release, platform.release())


def identify(kind: str, release: Mapping[str, str], kernel: str) -> System:
    """The system by Python's name for the platform, the words of /etc/os-release, and the kernel's release."""
    if kind != "linux":
        block = KINDS.get(kind)
        return System(f"{block or kind} {kernel}", _block([block] if block else []))
    ids = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return System(release.get("PRETTY_NAME", "Linux"), _block(ids), is_wsl="microsoft" in kernel.lower())


def _block(ids: list[str]) -> str | None:
    """The first id that a block is for."""
    blocks = {known: name for name, block in _mends().items() for known in block.get("for", ())}
    return next((blocks[one] for one in ids if one in blocks), None)


@cache
def _mends() -> dict[str, Any]:
    return tomllib.loads(MENDS.read_text(encoding="utf-8"))
