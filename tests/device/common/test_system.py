from __future__ import annotations

import pytest

from smoothdroid.device.common import system
from smoothdroid.device.common.system import identify

DEBIAN = identify("linux", {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}, "6.1.0-9-amd64")
MINT = identify("linux", {"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "6.8.0")
WSL = identify("linux", {"ID": "ubuntu"}, "5.15.167.4-microsoft-standard-WSL2")
MACOS = identify("darwin", {}, "24.1.0")
WINDOWS = identify("win32", {}, "11")
ARCH = identify("linux", {"ID": "arch", "PRETTY_NAME": "Arch Linux"}, "6.12")
BSD = identify("freebsd14", {}, "14.1")


@pytest.mark.parametrize(
    ("known", "need", "command"),
    [
        (DEBIAN, "cmake", "`sudo apt-get install cmake`, or `pip install 'smoothdroid[build]'`"),
        (MINT, "ninja", "`sudo apt-get install ninja-build`, or `pip install 'smoothdroid[build]'`"),
        (WSL, "compiler", "`sudo apt-get install build-essential`"),
        (DEBIAN, "udev", "`sudo apt-get install android-sdk-platform-tools-common`"),
        (MACOS, "adb", "`brew install --cask android-platform-tools`"),
        (MACOS, "compiler", "`xcode-select --install`"),
        (WINDOWS, "adb", "`winget install Google.PlatformTools`"),
        (WINDOWS, "system", "`wsl --install`"),
        (ARCH, "cmake", "install cmake 3.20 or newer, or `pip install 'smoothdroid[build]'`"),
        (BSD, "compiler", "install a C++ compiler"),
        (DEBIAN, "nosuch", "install nosuch"),
        (DEBIAN, "torch", "`pip install 'smoothdroid[model]'`"),
    ],
)
def test_the_install_command_of_a_need(known: system.System, need: str, command: str) -> None:
    assert known.fix(need) == command


def test_systems_are_told_apart() -> None:
    assert [one.is_wsl for one in (DEBIAN, WSL, WINDOWS)] == [False, True, False]
    assert [one.block for one in (DEBIAN, MINT, MACOS, WINDOWS, ARCH, BSD)] == [
        "debian",
        "debian",
        "macos",
        "windows",
        None,
        None,
    ]
    assert ARCH.name == "Arch Linux"


def test_every_need_has_words_for_a_system_without_a_block() -> None:
    """A row that is misspelt in a block would never be found."""
    blocks = system._blocks()
    known = {*blocks["needs"], *blocks["pip"]}
    for name, block in blocks.items():
        if name not in ("needs", "pip"):
            assert set(block) - {"for", "install", "commands"} <= known, name
            assert set(block.get("commands", {})) <= known, name
    assert all(BSD.fix(need) for need in known)


def test_this_one_is_known() -> None:
    assert system.this().name
