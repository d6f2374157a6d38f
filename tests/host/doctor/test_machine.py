from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from device import system
from device.usb import UsbPhone
from host import doctor
from host.doctor import Check, are_met, machine

DEBIAN = system.identify("linux", {"ID": "debian"}, "6.1")


def examine(command: str | None = None) -> dict[str, Check]:
    return {check.what: check for check in doctor.examine(command)}


def test_every_check_says_what_was_found_and_what_to_do() -> None:
    found = examine()
    assert {"system", "disk", "memory", "adb", "cmake", "ninja", "torch, transformers", "Dask"} <= set(found)
    assert found["cmake"].state == "ok"
    assert all(check.found for check in found.values())
    assert all(bool(check.mend) == (check.state != "ok") for check in found.values())
    assert doctor.are_met(list(found.values()))


def test_one_command_needs_less() -> None:
    assert {"cmake", "ninja", "compiler for phones"} <= set(examine("build"))
    assert {"adb", "cmake", "Dask"} & set(examine("farm")) == {"Dask"}


def test_a_machine_that_lacks_things_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "nosuchcompiler")
    monkeypatch.setenv("ANDROID_NDK", str(tmp_path))
    found = examine()
    here, phones = found["compiler for this machine"], found["compiler for phones"]
    assert (here.state, phones.state) == ("missing", "missing")
    assert system.this().mend("compiler") in here.mend
    assert "unset it to build with zig" in phones.mend


@pytest.mark.parametrize(
    ("said", "state", "says"),
    [
        ("echo cmake version 3.13.4", "missing", "3.13.4 is too old, 3.20 is needed"),
        ("echo cmake version 3.31.0-rc1", "ok", ""),
        ("exit 1", "missing", "does not run"),
    ],
)
def test_a_cmake_that_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, state: str, says: str
) -> None:
    """The one on PATH: pip's, beside this Python, is newer."""
    tool = tmp_path / "cmake"
    tool.write_text(f"#!/bin/sh\n{said}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(machine, "program", shutil.which)
    check = examine("build")["cmake"]
    assert (check.state, says in check.mend) == (state, True), check


def test_looks_at_the_disk_of_the_cache_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "not" / "yet"
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(cache))
    disk = examine("inspect")["disk"]
    assert f"GiB free for {cache}" in disk.found
    assert (disk.state == "ok") == ("set SMOOTHDROID_CACHE" not in disk.mend)
    assert list(tmp_path.iterdir()) == []


def test_little_memory_is_said(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 16000000 kB\nMemAvailable:    1048576 kB\n")
    assert (machine.memory(meminfo).state, machine.memory(meminfo).found) == ("warning", "1.0 GiB free")
    assert machine.memory(tmp_path / "nosuch").state == "ok", "macOS"


def test_phones_that_adb_does_not_have_ready() -> None:
    assert "accept this computer's key" in machine.phone_of_adb("3A1", "unauthorized").mend
    locked = UsbPhone("Google Pixel 8", "3A1", debugging=True, openable=False)
    assert machine.phone_at_cable(locked, DEBIAN).mend == (
        "`sudo apt-get install android-sdk-platform-tools-common`, then plug it in again"
    )
    assert "7 times" in machine.phone_at_cable(UsbPhone("Pixel", "3A1", debugging=False, openable=True), DEBIAN).mend
    unseen = machine.phone_at_cable(UsbPhone("Pixel", "3A1", debugging=True, openable=True), DEBIAN)
    assert "adb kill-server" in unseen.mend


def test_what_is_optional_may_be_missing_unless_it_is_asked_for() -> None:
    checks = [Check("cmake", "ok", "4.0"), Check("Dask", "missing", "-", "", ("farm",), optional=True)]
    assert are_met(checks)
    assert not are_met(checks, "farm")
    assert not are_met([*checks, Check("ninja", "missing", "-")])
    assert are_met([Check("disk", "warning", "1 GiB free")], "farm")
