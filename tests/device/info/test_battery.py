from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.info.battery import Battery, milliamperes, parse_battery, percents, tenths_of_degrees, volts
from smoothdroid.device.info.readings import Cleaned

DATA = Path(__file__).parents[2] / "data/phones"


@pytest.mark.parametrize(
    ("dump", "battery"),
    [
        ("samsung_s20plus_a13", (19, 37.6, True)),
        ("samsung_full_on_usb", (100, 30.2, True)),
        ("oneplus_ace5_a15", (87, 32.5, True)),  # an OPLUS section before, with INT_MIN in it
        ("android15_pixel_form", (77, 29.6, True)),  # "Capacity level: 3" after "level: 77"
        ("skia_2", (95, None, True)),
        ("skia_4", (None, None, None)),
        ("skia_7", (94, 28.1, True)),  # tabs
        ("skia_8", (75, 24.8, True)),  # no indent
    ],
)
def test_the_batteries_of_real_phones(dump: str, battery: tuple[int | None, float | None, bool | None]) -> None:
    text = (DATA / f"battery/{dump}.txt").read_text()
    level, celsius, charging = battery
    expected = Battery(level_percent=level, celsius=celsius, charging=charging)
    assert parse_battery(text) == expected
    assert parse_battery(text.replace("\n", "\r\n")) == expected


def test_an_app_reads_sysfs() -> None:
    """Termux may not ask dumpsys, which says so on its standard output."""
    denied = "Permission Denial: can't dump BatteryService from from pid=1, uid=10217 due to missing permission\n"
    sysfs = "sysfs capacity 55\nsysfs status Discharging\nsysfs temp 291\n"
    assert parse_battery(denied + sysfs) == Battery(level_percent=55, celsius=29.1, charging=False)


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown", "Discharging"])
def test_the_states_of_sysfs(status: str) -> None:
    assert parse_battery(f"sysfs status {status}").charging is (status in ("Charging", "Full"))


@pytest.mark.parametrize(
    "text",
    [
        "  level: -1\n  temperature: -2147483648\n",
        "  level: 2147483647\n  temperature: 2147483647\n",
        "sysfs capacity -22\nsysfs temp -2147483648\n",
        "sysfs capacity many\nsysfs temp warm\n",
    ],
)
def test_numbers_that_mean_unknown(text: str) -> None:
    assert parse_battery(text) == Battery()


@pytest.mark.fault(
    "Somebody froze the battery's state with `dumpsys battery set`",
    transport="adb",
    outcome="the frozen values do not count",
)
def test_a_battery_that_somebody_set_by_hand_is_not_believed() -> None:
    """`dumpsys battery set level 50`, as automated tests do."""
    text = "Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n  level: 50\n  status: 2\n"
    assert parse_battery(text) == Battery()
    assert parse_battery(text + "sysfs capacity 81\n") == Battery(level_percent=81)


@pytest.mark.parametrize(
    ("log", "battery"),
    [
        ("  temperature: 242\n", Battery(celsius=24.2)),
        ("I/BatteryService( 1234): level: 99 temperature: 500\n  level: 77\n", Battery(level_percent=77)),
        ("  level: 77\n  Capacity level: 3\n  mod level: 5\n", Battery(level_percent=77)),
    ],
)
def test_lines_of_a_log_in_the_batterys_state(log: str, battery: Battery) -> None:
    """Android 16 prints them there (sitespeedio/browsertime #2373)."""
    assert parse_battery(log) == battery


@pytest.mark.fault(
    "A battery's current or voltage has one impossible value among good ones",
    transport="any",
    outcome="the unit follows from the median, the reading is left out and counted",
)
@pytest.mark.parametrize(
    ("raw", "milliampere"),
    [
        ([-398, -1200, -900, 65535], [-398, -1200, -900, None]),  # mA: it would all be 1000 times too small
        ([-398, -1200, -900, 2_000_000], [-398, -1200, -900, None]),
        ([-398_000, -1_200_000, -900_000, -(2**31)], [-398, -1200, -900, None]),
        ([976, 250_000, 260_000], [0.976, 250, 260]),  # a Pixel that idles first
    ],
)
def test_one_odd_current_changes_no_unit(raw: list[int], milliampere: list[float | None]) -> None:
    found = milliamperes(raw)
    assert (found.values, found.dropped) == (milliampere, milliampere.count(None))


def test_odd_voltages_and_levels_are_left_out() -> None:
    assert volts([4127, 4100, 4_294_967_295, 0]) == Cleaned([4.127, 4.1, None, None], 2)
    assert volts([4_127_000, 4_100_000, 12]) == Cleaned([4.127, 4.1, None], 1)
    assert percents([77, 255, -1]) == Cleaned([77, None, None], 2)
    assert tenths_of_degrees([242, -1270]) == Cleaned([24.2, None], 1)


def test_a_sensor_that_never_answers_is_absent_and_not_counted() -> None:
    """Some MediaTek phones have INT_MIN for every current."""
    assert milliamperes([-(2**31)] * 3) == Cleaned([None] * 3)
