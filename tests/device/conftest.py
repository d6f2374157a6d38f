"""Fixtures for the tests of device/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.transport.adb import AdbTarget
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.ssh import SshTarget


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
