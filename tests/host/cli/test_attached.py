"""What `smoothdroid devices` says of an adb server's phones that cannot work, or cannot be told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.device.fake_adb import FakeServer, Listed, fake_server

SMOOTHDROID = Path(sys.executable).with_name("smoothdroid")


def devices(fake: FakeServer, cache: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `smoothdroid devices` where adb has a fake server's phones, and no emulated phone runs."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("ANDROID_", "ADB_"))}
    known |= {"ANDROID_ADB_SERVER_PORT": str(fake.port), "SMOOTHDROID_CACHE": str(cache), **environ}
    command = [str(SMOOTHDROID), "devices", *arguments]
    return subprocess.run(command, env=known, capture_output=True, text=True, check=False, timeout=300)


def test_each_state_comes_with_what_to_do(tmp_path: Path) -> None:
    states = ["host", "sideload", "connecting", "detached", "unauthorized", "offline", "rescue"]
    with fake_server([Listed(f"S{number}", state) for number, state in enumerate(states)]) as fake:
        done = devices(fake, tmp_path)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(set(said)) == len(states), "no two states have the same advice"
    for line, state in zip(said, states, strict=True):
        assert f"adb lists it as `{state}`: " in line


def test_phones_of_one_serial_are_all_listed(tmp_path: Path) -> None:
    phones = [Listed("0123456789ABCDEF", "offline", transport=2), Listed("0123456789ABCDEF", "offline", transport=5)]
    with fake_server(phones) as fake:
        done = devices(fake, tmp_path)
        chosen = devices(fake, tmp_path, "--on", "adb:0123456789ABCDEF")
    assert "two phones with the serial 0123456789ABCDEF: transport ids 2, 5" in done.stderr
    assert all(f"the phone transport:{number} is attached" in done.stderr for number in (2, 5))
    assert "Name one with --on: adb:transport:2, adb:transport:5" in chosen.stderr
    assert (done.returncode, chosen.returncode) == (3, 3)


@pytest.mark.parametrize("value", ["usb", "70000"])
def test_a_malformed_variable_is_a_mistake_of_the_users(tmp_path: Path, value: str) -> None:
    with fake_server() as fake:
        done = devices(fake, tmp_path, ANDROID_ADB_SERVER_PORT=value)
    assert done.returncode == 2
    assert f"$ANDROID_ADB_SERVER_PORT: `{value}` is not a port" in done.stderr
    assert "Traceback" not in done.stderr
