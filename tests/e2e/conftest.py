"""The whole path as a user walks it: the installed command, a phone, the real binaries and model.

Which phone, SMOOTHDROID_TEST_TARGET says: a target (adb:emulator-5554), or nothing for an emulated phone that the tests
start. What needs one that it can heat, cut off or fill up is skipped for any other, by name.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from smoothdroid.device import virtual
from smoothdroid.device.transport import adb
from smoothdroid.device.virtual import VirtualPhone
from smoothdroid.device.virtual.profile import PROFILES
from smoothdroid.host.cli import main

TARGET = os.environ.get("SMOOTHDROID_TEST_TARGET", "")
SMOOTHDROID = Path(sys.executable).with_name("smoothdroid")

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run `smoothdroid ARGUMENTS` in this process, through the same main(); with `status=None` any status is fine.

    To start Python and import all anew takes seconds each time. The installed command itself is started by the tests
    that interrupt it, and by those of the documented commands.
    """

    def run(*arguments: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = ["smoothdroid", *map(str, arguments)]
        out, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            patch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as ended:
                main()
        done = subprocess.CompletedProcess(command, int(ended.value.code or 0), out.getvalue(), errors.getvalue())
        assert status in (None, done.returncode), f"{command} ended with {done.returncode}:\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def emulated(name: str, profile: str = "pixel-8") -> Iterator[VirtualPhone]:
    """An emulated phone, gone afterwards with all that is on it."""
    if TARGET:
        pytest.skip(f"needs an emulated phone, and SMOOTHDROID_TEST_TARGET is {TARGET}")
    phone = virtual.start(f"e2e-{name}-{os.getpid()}", profile)
    try:
        yield phone
    finally:
        adb.disconnect(phone.adb_address)
        virtual.stop(phone.name, erase=True)


@pytest.fixture(scope="session")
def desk_phone() -> Iterator[VirtualPhone]:
    """An emulated phone of its own for the whole path."""
    yield from emulated("desk")


@pytest.fixture(scope="session")
def older_phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualPhone]:
    """A phone with a CPU of 2014, which has no dotprod, and whose cores say so."""
    profile = tmp_path_factory.mktemp("older") / "old.toml"
    profile.write_text(pixel(cpu="cortex-a57", features="fp asimd evtstrm aes pmull sha1 sha2 crc32"))
    yield from emulated("old", str(profile))


def pixel(*, cpu: str, features: str | None = None) -> str:
    """The profile of a Pixel 8 that has another CPU; without `features`, it claims to have its own."""
    text = re.sub(r'^qemu_cpu = ".*"$', f'qemu_cpu = "{cpu}"', (PROFILES / "pixel-8.toml").read_text(), flags=re.M)
    return re.sub(r'^features = ".*"$', f'features = "{features}"', text, flags=re.M) if features else text


@dataclass(frozen=True)
class Desk:
    """The phone that the tests are run with."""

    ways: tuple[str, ...]
    """Every way to it, as --on takes it."""
    facts: dict[str, Any]
    """What `smoothdroid devices` says of it."""

    @property
    def title(self) -> str:
        """How a report calls it."""
        return f"{self.facts['model']} ({self.facts['soc']})"


@pytest.fixture(scope="session")
def desk(request: pytest.FixtureRequest, cli: Cli) -> Desk:
    """The phone of SMOOTHDROID_TEST_TARGET, else the emulated one, over adb and SSH."""
    if TARGET:
        ways: tuple[str, ...] = (TARGET,)
    else:
        name = request.getfixturevalue("desk_phone").name
        ways = (f"virtual:{name}", f"virtual:{name}/ssh")
    (phone,) = json.loads(cli("devices", "--on", ways[0], "--json").stdout)
    return Desk(ways, phone)


@pytest.fixture(scope="session")
def prepared(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sample model's smooth and plain Q8_0, made as in the tutorial, once for all processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    checkpoint, out = shared / "models" / "SmolLM2-135M-Instruct", shared / "out"
    with FileLock(shared / "prepared.lock"):
        cli("sample", checkpoint)  # neither is made again where it is found
        cli("prepare", checkpoint, "-o", out, "--alpha", "0.5", "--n-samples", "16")
    return out


@contextmanager
def changed(phone: VirtualPhone, **files: str) -> Iterator[None]:
    """A thermal zone's files with another content, as `temp` or `trip_point_0_type`."""
    folder = phone.folder / "sys/class/thermal/thermal_zone0"
    before = {name: (folder / name).read_text() if (folder / name).exists() else None for name in files}
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    try:
        yield
    finally:
        for name, was in before.items():
            if was is None:
                (folder / name).unlink()
            else:
                (folder / name).write_text(was)
