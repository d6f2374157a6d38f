"""The workstation's operating system, and the commands that install what it lacks."""

from __future__ import annotations

import platform
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

INSTALL_COMMANDS = Path(__file__).with_name("install_commands.toml")

KINDS = {"darwin": "macos", "win32": "windows"}
"""The block of install_commands.toml by Python's name for a platform. Linux distributions have their own blocks."""


@dataclass(frozen=True)
class System:
    """An operating system."""

    name: str
    """The full name, such as `Debian GNU/Linux 12 (bookworm)`."""
    block: str | None
    """The block of install_commands.toml; None where none is for this system."""
    is_wsl: bool = False
    """Linux in Windows, to which USB devices must be attached."""

    def fix(self, need: str) -> str:
        """Return how to get `need`: install commands of this system, or else a description from [needs]."""
        blocks = _blocks()
        block: dict[str, Any] = blocks.get(self.block, {}) if self.block else {}
        commands = []
        if command := block.get("commands", {}).get(need):
            commands.append(f"`{command}`")
        elif packages := block.get(need):
            commands.append(f"`{block['install']} {packages}`")
        elif need in blocks["needs"]:
            commands.append(blocks["needs"][need])
        if extra := blocks["pip"].get(need):
            commands.append(f"`pip install 'smoothdroid[{extra}]'`")
        return ", or ".join(commands) or f"install {need}"


@cache
def this() -> System:
    """Return the system that this program runs on."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return identify(sys.platform, release, platform.release())


def identify(kind: str, release: Mapping[str, str], kernel: str) -> System:
    """Return the system by `sys.platform`, the fields of /etc/os-release and the kernel's release."""
    if kind != "linux":
        block = KINDS.get(kind)
        return System(f"{block or kind} {kernel}", _block([block] if block else []))
    ids = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return System(release.get("PRETTY_NAME", "Linux"), _block(ids), is_wsl="microsoft" in kernel.lower())


def _block(ids: list[str]) -> str | None:
    """Return the name of the block for the first of these os-release IDs that has one."""
    names = {known: name for name, block in _blocks().items() for known in block.get("for", ())}
    return next((names[known] for known in ids if known in names), None)


@cache
def _blocks() -> dict[str, Any]:
    return tomllib.loads(INSTALL_COMMANDS.read_text(encoding="utf-8"))
