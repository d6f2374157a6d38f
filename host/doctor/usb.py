"""Phones on a USB cable as Linux lists them, whether or not adb has access to them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEVICES = Path("/sys/bus/usb/devices")
NODES = Path("/dev/bus/usb")

# Class, subclass and protocol of an interface: adb's own (AOSP, packages/modules/adb/adb.h), and that of still images,
# by which Android and cameras offer files.
_ADB = ("ff", "42", "01")
_FILES = ("06", "01", "01")


@dataclass(frozen=True)
class UsbPhone:
    """A USB device that offers adb or file transfer."""

    name: str
    serial: str
    debugging: bool
    """Whether USB debugging is on, so that it offers adb."""
    openable: bool
    """Whether this user may open it."""


def plugged_in(devices: Path = DEVICES, nodes: Path = NODES) -> list[UsbPhone]:
    """Return the phones that are plugged in; none where the system has no sysfs."""
    phones = []
    for device in sorted(devices.glob("*")):
        interfaces = {
            tuple(_read(interface / f"bInterface{part}") for part in ("Class", "SubClass", "Protocol"))
            for interface in device.glob(f"{device.name}:*")
        }
        if not interfaces & {_ADB, _FILES}:
            continue
        name = f"{_read(device / 'manufacturer')} {_read(device / 'product')}".strip() or "a phone"
        bus, number = _read(device / "busnum"), _read(device / "devnum")
        node = nodes / bus.zfill(3) / number.zfill(3)
        openable = os.access(node, os.R_OK | os.W_OK)
        phones.append(UsbPhone(name, _read(device / "serial"), _ADB in interfaces, openable))
    return phones


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
