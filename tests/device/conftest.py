"""Fixtures for the tests of device/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from device import virtual
from device.adb import AdbTarget
from device.ssh import SshTarget
from device.targets import open_target


@pytest.fixture(scope="session")
def adb_target(phone: virtual.VirtualPhone) -> Iterator[AdbTarget]:
    """The emulated phone over adb."""
    target = open_target(f"virtual:{phone.name}")
    assert isinstance(target, AdbTarget)
    yield target
    target.close()


@pytest.fixture(scope="session")
def ssh_target(phone: virtual.VirtualPhone) -> Iterator[SshTarget]:
    """The emulated phone over SSH."""
    target = open_target(f"virtual:{phone.name}/ssh")
    assert isinstance(target, SshTarget)
    yield target
    target.close()
