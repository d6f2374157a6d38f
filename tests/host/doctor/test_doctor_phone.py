from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.battery import Battery
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.device.transport.target import Completed
from smoothdroid.host.doctor import Check, examine_phone
from smoothdroid.host.doctor.phone import checks, stuck_sensors
from tests.host.fakes import phone as pixel

AT_REST = "low_power 0\nscreen mWakefulness=Awake\ntaskset /system/bin/taskset\n"


class OverSsh(LocalTarget):
    """A phone over SSH."""

    kind = "ssh"
    name = "ssh://u0_a1@phone:8022"


def look(phone: Phone, said: str = AT_REST) -> dict[str, Check]:
    return {check.what: check for check in checks(OverSsh(), phone, said)}


def test_a_phone_at_rest_has_all() -> None:
    found = look(pixel())
    assert {check.state for check in found.values()} == {"ok"}
    assert found["cool"].found == "31 °C at most (BIG)"
    assert found["ISA level"].found.startswith("i8mm")


@pytest.mark.parametrize(
    ("what", "phone", "said", "fix"),
    [
        ("cool", pixel(battery=Battery(level_percent=90, celsius=41.5)), AT_REST, "let it cool"),
        ("battery", pixel(battery=Battery(level_percent=12)), AT_REST, "charge it"),
        ("space", pixel(free_mb=900), AT_REST, "phone clean"),
        ("battery saver", pixel(), AT_REST.replace("low_power 0", "low_power 1"), "switch it off"),
        ("screen", pixel(), AT_REST.replace("Awake", "Dozing"), "termux-wake-lock"),
        ("taskset", pixel(), AT_REST.replace("/system/bin/taskset", ""), "pkg install util-linux"),
    ],
)
def test_what_makes_it_the_wrong_moment(what: str, phone: Phone, said: str, fix: str) -> None:
    found = look(phone, said)
    assert [name for name, check in found.items() if check.state != "ok"] == [what]
    assert fix in found[what].fix


class Heated(LocalTarget):
    """This machine, with the temperatures of a phone in its description: one list for each time that it is asked."""

    def __init__(self, *thermal: str) -> None:
        super().__init__()
        self._thermal = list(thermal)

    def run(self, argv: Sequence[str], **more: Any) -> Completed:
        done = super().run(argv, **more)
        if "describe" not in argv:
            return done
        said = self._thermal.pop(0) if len(self._thermal) > 1 else self._thermal[0]
        return replace(done, stdout=re.sub(r"==thermal\n(?:[^=].*\n)*", f"==thermal\n{said}", done.stdout))


AT_25 = "26000 mtktscpu\n25000 mtktspmic\n24500 mtktsbattery\n"


def cool(target: Heated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Check:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    phone = describe(target)
    found = {check.what: check for check in checks(target, phone, AT_REST, stuck_sensors(target, phone))}
    return found["cool"]


@pytest.mark.parametrize("parked", [125000, 99000, 148500])
def test_a_stuck_sensor_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parked: int) -> None:
    """A mtkts_bts1 parked at 125000 (jxlarrea/kiosk-satellite #654)."""
    found = cool(Heated(f"{AT_25}{parked} mtkts_bts1\n"), monkeypatch, tmp_path)
    assert found.state == "ok"
    assert found.found == f"26 °C at most (mtktscpu); mtkts_bts1 is stuck at {parked / 1000:.0f} °C and left out"


@pytest.mark.parametrize(
    "thermal",
    [
        [f"{AT_25}{value} cpu-0\n" for value in (96000, 96000, 95000, 94000)],
        [f"{AT_25}96000 cpu-0\n95000 cpu-1\n91000 cpu-2\n"],
        [f"{AT_25}61000 cpu-0\n"],
    ],
    ids=["it moves", "its neighbours are hot", "a working core"],
)
def test_a_sensor_that_is_really_hot_is_not_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, thermal: list[str]
) -> None:
    found = cool(Heated(*thermal), monkeypatch, tmp_path)
    assert (found.state, "stuck" in found.found) == ("warning", False)
    assert "(cpu-0)" in found.found


def test_what_a_phone_does_not_tell_is_left_out() -> None:
    silent = pixel(celsius={}, battery=Battery())
    assert set(look(silent, "low_power \nscreen \ntaskset \n")) == {OverSsh.name, "space", "taskset", "ISA level"}
    assert "battery saver" not in look(pixel(), "low_power null\n")


@pytest.mark.e2e
@pytest.mark.parametrize("way", ["", "/ssh"])
def test_the_emulated_phone(phone: virtual.VirtualPhone, way: str) -> None:
    found = {check.what: check for check in examine_phone(f"virtual:{phone.name}{way}", SshOptions())}
    assert found["taskset"].state == "ok"
    assert found["tools"].state == "ok"
    assert found["ISA level"].found.startswith("i8mm")
    assert {"cool", "battery", "space"} <= set(found)
    assert any("(emulated), authorised" in check.found for check in found.values())


def test_a_phone_that_cannot_be_reached_is_missing_and_says_why() -> None:
    (check,) = examine_phone("ssh://user@127.0.0.1:1", SshOptions())
    assert check.state == "missing"
    assert "`sshd` running in Termux" in check.fix
    with pytest.raises(BadInput):
        examine_phone("nosuch:", SshOptions())
