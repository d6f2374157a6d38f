"""sysfs as Linux shows it: no machine of CI has a phone at a cable, nor a USB device that it may not open."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.host.doctor import usb


def plug(devices: Path, port: str, interfaces: list[str], **words: str) -> None:
    """A device at a port, with interfaces written `ff 42 01`."""
    for file, text in {"busnum": "1", "devnum": "7", **words}.items():
        (devices / port).mkdir(parents=True, exist_ok=True)
        (devices / port / file).write_text(f"{text}\n")
    for number, kind in enumerate(interfaces):
        folder = devices / port / f"{port}:1.{number}"
        folder.mkdir()
        for part, value in zip(("Class", "SubClass", "Protocol"), kind.split(), strict=True):
            (folder / f"bInterface{part}").write_text(f"{value}\n")


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, Path]:
    devices, nodes = tmp_path / "devices", tmp_path / "nodes"
    plug(devices, "1-1", ["09 00 00"], product="a hub")
    pixel = {"manufacturer": "Google", "product": "Pixel 8", "serial": "3A1"}
    plug(devices, "1-2", ["06 01 01", "ff 42 01"], **pixel)
    plug(devices, "1-3", ["06 01 01"], product="SM-S918B", serial="R5", devnum="12")
    (nodes / "001").mkdir(parents=True)
    (nodes / "001" / "012").touch()
    return devices, nodes


def test_phones_are_found_and_what_keeps_them(tree: tuple[Path, Path]) -> None:
    assert usb.plugged_in(*tree) == [
        usb.UsbPhone("Google Pixel 8", "3A1", debugging=True, openable=False),
        usb.UsbPhone("SM-S918B", "R5", debugging=False, openable=True),
    ]


def test_a_system_without_sysfs_has_none(tmp_path: Path) -> None:
    assert usb.plugged_in(tmp_path / "nosuch", tmp_path) == []
