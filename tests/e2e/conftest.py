"""The whole path as a user walks it: the installed command, the emulated phone, the real binaries and model."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device import adb, virtual
from device.virtual import VirtualPhone

SMOOTHDROID = Path(sys.executable).with_name("smoothdroid")

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run `smoothdroid ARGUMENTS`; with `status=None` any exit status is fine."""

    def run(*arguments: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [str(SMOOTHDROID), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert status in (None, done.returncode), f"{command} ended with {done.returncode}:\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def desk_phone() -> Iterator[VirtualPhone]:
    """An emulated phone of its own for the whole path."""
    phone = virtual.start(f"e2e-desk-{os.getpid()}")
    yield phone
    adb.disconnect(phone.adb_address)
    virtual.stop(phone.name, erase=True)


@pytest.fixture(scope="session")
def prepared(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sample model's smooth and plain Q8_0."""
    work = tmp_path_factory.mktemp("prepared")
    checkpoint = work / "SmolLM2-135M-Instruct"
    cli("sample", checkpoint)
    cli("prepare", checkpoint, "-o", work / "out", "--alpha", "0.5", "--n-samples", "16")
    return work / "out"


def eventually(true: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
