from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from smoothdroid.device.common import system
from smoothdroid.device.common.errors import NoPhone
from smoothdroid.device.transport.resolve import FIRST_PHONE
from smoothdroid.host import doctor
from smoothdroid.host.doctor import Check, are_met, machine
from smoothdroid.host.doctor.usb import UsbPhone

DEBIAN = system.identify("linux", {"ID": "debian"}, "6.1")


def examine(command: str | None = None) -> dict[str, Check]:
    return {check.what: check for check in doctor.examine(command)}


def test_every_check_says_what_was_found_and_what_to_do() -> None:
    found = examine()
    assert {"system", "disk", "memory", "adb", "cmake", "ninja", "torch, transformers", "Dask"} <= set(found)
    assert found["cmake"].state == "ok"
    assert all(check.found for check in found.values())
    assert all(bool(check.fix) == (check.state != "ok") for check in found.values())
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
    assert system.this().fix("compiler") in here.fix
    assert "unset it to build with zig" in phones.fix


@pytest.mark.parametrize(
    ("said", "state", "says"),
    [
        ("echo cmake version 3.13.4", "missing", "3.13.4 is too old; 3.20 or newer is needed"),
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
    assert (check.state, says in check.fix) == (state, True), check


def test_looks_at_the_disk_of_the_cache_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "not" / "yet"
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(cache))
    disk = examine("inspect")["disk"]
    assert f"GiB free for {cache}" in disk.found
    assert (disk.state == "ok") == ("set SMOOTHDROID_CACHE" not in disk.fix)
    assert list(tmp_path.iterdir()) == []


def test_little_memory_is_said(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 16000000 kB\nMemAvailable:    1048576 kB\n")
    assert (machine.memory(meminfo).state, machine.memory(meminfo).found) == ("warning", "1.0 GiB free")
    assert machine.memory(tmp_path / "nosuch").state == "ok", "macOS"


def pixel(*, debugging: bool, openable: bool) -> UsbPhone:
    return UsbPhone("Google Pixel 8", "3A1", debugging=debugging, openable=openable)


@pytest.mark.parametrize(
    ("attached", "plugged", "found", "fix"),
    [
        ({"3A1": "device"}, [pixel(debugging=True, openable=True)], "authorised", ""),
        ({"3A1": "unauthorized"}, [], "unauthorized", "accept this computer's key"),
        ({"3A1": "no permissions (user x)"}, [], "no permissions (user x)", "may not open the USB device"),
        (
            {},
            [pixel(debugging=True, openable=False)],
            "may not open",
            "platform-tools-common`, then unplug",
        ),
        ({}, [pixel(debugging=False, openable=True)], "without USB debugging", "7 times"),
        ({}, [pixel(debugging=True, openable=True)], "adb does not see it", "adb kill-server"),
    ],
)
def test_a_phone_at_a_cable(attached: dict[str, str], plugged: list[UsbPhone], found: str, fix: str) -> None:
    server, check = machine.phones(DEBIAN, lambda: attached, lambda: plugged)
    assert server.state == "ok"
    assert (check.what, check.state) == ("phone 3A1", "warning" if fix else "ok")
    assert found in check.found
    assert fix in check.fix


def test_no_phone_at_all_comes_with_the_way_to_the_first() -> None:
    _, check = machine.phones(DEBIAN, dict, list)
    assert (check.state, check.fix.split("\n  ")[1:]) == ("warning", list(FIRST_PHONE))
    _, in_windows = machine.phones(replace(DEBIAN, is_wsl=True), dict, list)
    assert "usbipd attach" in in_windows.fix


def test_without_an_adb_server_it_says_how_to_get_one() -> None:
    def none() -> dict[str, str]:
        raise NoPhone("no adb server")

    (check,) = machine.phones(DEBIAN, none, list)
    assert (check.state, check.fix) == ("missing", "`sudo apt-get install adb`")


def test_what_is_optional_may_be_missing_unless_it_is_asked_for() -> None:
    checks = [Check("cmake", "ok", "4.0"), Check("Dask", "missing", "-", "", ("farm",), optional=True)]
    assert are_met(checks)
    assert not are_met(checks, "farm")
    assert not are_met([*checks, Check("ninja", "missing", "-")])
    assert are_met([Check("disk", "warning", "1 GiB free")], "farm")
