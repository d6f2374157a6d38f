from __future__ import annotations

import hashlib

import pytest

from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.device.info.identity import is_placeholder, phone_id

ONE, OTHER = "28b09587-829c-42df-a3b2-fe7adea07afc", "5f0f62f6-1d5f-4b64-9a62-3b8c3e1d6f11"

PLACEHOLDERS = [
    *("0123456789ABCDEF", "0123456789abcdef", "123456789ABCDEF", "1234567890ABCDEF", "1234567890", "0123456789"),
    *("12345678", "unknown", "UNKNOWN", "none", "null", "N/A", "", " ", "0", "1", "00000000", "ffffffffffffffff"),
    *("xxxxxxxx", "????????????", "00:00:00:00", "FEDCBA9876543210", "EMULATOR36X6X11X0", "20080411"),
]
REAL = ["R58M123ABCD", "R58M", "39091FDJH00ABC", "EMU0A1B2C3D4E5", "c8a2f01b", "LGH8700a1b2c3d", "7a1d2e3f", "a"]


@pytest.mark.parametrize("serial", PLACEHOLDERS)
def test_what_makers_leave_in_place_of_a_serial_number(serial: str) -> None:
    """Reports: vysor #220, adb-idea #100, pure-python-adb #61, openstf #1273."""
    assert is_placeholder(serial)


@pytest.mark.parametrize("serial", REAL)
def test_the_id_of_a_real_serial_number_never_changes(serial: str) -> None:
    expected = hashlib.sha256(serial.encode()).hexdigest()[:12]
    for target in (f"adb:{serial}", "ssh://u0_a217@phone:8022"):
        for mark in (ONE, ""):
            assert phone_id({"ro.serialno": serial}, mark, target, target.partition(":")[0]) == expected
    assert phone_id({"ro.serialno": "unknown", "ro.boot.serialno": serial}, ONE, "adb:unknown", "adb") == expected


@pytest.mark.fault(
    "Two phones have the same placeholder as serial number (0123456789ABCDEF, unknown, 0)",
    transport="any",
    outcome="each gets an id from a mark that smoothdroid keeps on it, and is measured",
)
@pytest.mark.parametrize("serial", PLACEHOLDERS)
def test_two_phones_with_one_placeholder_are_two(serial: str) -> None:
    properties = {"ro.serialno": serial, "ro.boot.serialno": serial, "ro.build.fingerprint": "maker/board"}
    one, other = (phone_id(properties, mark, f"adb:{serial}", "adb") for mark in (ONE, OTHER))
    assert one != other
    assert one == phone_id(properties | {"ro.build.fingerprint": "maker/board:updated"}, ONE, "adb:other-name", "adb")


@pytest.mark.fault(
    "A phone has a placeholder as serial number, and its storage cannot be written",
    transport="any",
    outcome="an error says so; it is never taken for another phone",
)
@pytest.mark.parametrize("mark", ["", "No such file", "../../x", "a" * 400])
def test_a_placeholder_without_a_mark_is_an_error(mark: str) -> None:
    with pytest.raises(CommandFailed, match="many phones have the serial number 0123456789ABCDEF"):
        phone_id({"ro.serialno": "0123456789ABCDEF"}, mark, "adb:0123456789ABCDEF", "adb")


def test_where_no_serial_number_may_be_read_the_way_tells_phones_apart() -> None:
    """Android 10 hides it from apps, Termux among them."""
    fingerprint = {"ro.build.fingerprint": "google/shiba"}
    one = phone_id(fingerprint, ONE, "ssh://a@h:1", "ssh")
    assert one == hashlib.sha256(b"ssh://a@h:1 google/shiba").hexdigest()[:12]
    assert one != phone_id(fingerprint, ONE, "ssh://b@h:1", "ssh")
    assert phone_id({}, ONE, "adb:?", "adb") != phone_id({}, OTHER, "adb:?", "adb")


def test_an_id_can_be_made_of_any_text() -> None:
    assert len(phone_id({"ro.serialno": "R58\ud800"}, "", "adb:X", "adb")) == 12
