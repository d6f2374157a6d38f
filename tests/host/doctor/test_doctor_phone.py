from __future__ import annotations

import pytest

from device import virtual
from device.errors import BadInput
from device.local import LocalTarget
from device.phone import Battery, Phone
from device.ssh import SshOptions
from host.doctor import Check, examine_phone
from host.doctor.phone import checks
from tests.host.fakes import phone as pixel

AT_REST = "low_power 0\nscreen mWakefulness=Awake\ntaskset /system/bin/taskset\n"


class OverSsh(LocalTarget):
    """Only its name counts here."""

    name = "ssh://u0_a1@phone:8022"


def look(phone: Phone, said: str = AT_REST) -> dict[str, Check]:
    return {check.what: check for check in checks(OverSsh(), phone, said)}


def test_a_phone_at_rest_has_all() -> None:
    found = look(pixel())
    assert {check.state for check in found.values()} == {"ok"}
    assert found["cool"].found == "31 °C at most (BIG)"
    assert found["ISA level"].found.startswith("i8mm")


@pytest.mark.parametrize(
    ("what", "phone", "said", "mend"),
    [
        ("cool", pixel(battery=Battery(level_percent=90, celsius=41.5)), AT_REST, "let it cool"),
        ("battery", pixel(battery=Battery(level_percent=12)), AT_REST, "charge it"),
        ("space", pixel(free_mb=900), AT_REST, "phone clean"),
        ("battery saver", pixel(), AT_REST.replace("low_power 0", "low_power 1"), "switch it off"),
        ("screen", pixel(), AT_REST.replace("Awake", "Dozing"), "termux-wake-lock"),
        ("taskset", pixel(), AT_REST.replace("/system/bin/taskset", ""), "pkg install util-linux"),
    ],
)
def test_what_makes_it_the_wrong_moment(what: str, phone: Phone, said: str, mend: str) -> None:
    found = look(phone, said)
    assert [name for name, check in found.items() if check.state != "ok"] == [what]
    assert mend in found[what].mend


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
    assert "`sshd` running in Termux" in check.mend
    with pytest.raises(BadInput):
        examine_phone("nosuch:", SshOptions())
