"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from device import adb, virtual
from host.build import source


@pytest.fixture(scope="session")
def llama_cpp() -> Path:
    """The source tree of llama.cpp."""
    return source.unpacked(source.pinned()).folder


@pytest.fixture(scope="session")
def phone() -> Iterator[virtual.VirtualPhone]:
    """An emulated phone for every test that leaves it as it was."""
    started = virtual.start(f"tests-{os.getpid()}")
    yield started
    adb.disconnect(started.adb_address)
    assert virtual.stop(started.name, erase=True)
