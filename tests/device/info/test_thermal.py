from __future__ import annotations

import pytest

from smoothdroid.device.info import thermal
from smoothdroid.device.info.readings import Cleaned
from smoothdroid.device.info.thermal import parse_temperatures

SECONDS = [float(second) for second in range(60)]


def temperatures(*raw: int | None) -> Cleaned:
    return thermal.temperatures(raw, SECONDS)


@pytest.mark.fault(
    "A thermal zone answers with one impossible value among good ones",
    transport="any",
    outcome="the reading is left out and counted, the zone counts as before",
)
@pytest.mark.parametrize("odd", [-127000, 2147483647, -2147483648, 65535, 32767, 0, 250_000, -40_000, 999_999_999])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_odd_reading_of_a_zone_decides_nothing(odd: int, place: int) -> None:
    """A DS18B20 without power answers -127 (raspberrypi/firmware #133)."""
    raw = [97000, 97500, 98000, 98000]
    raw.insert(place, odd)
    found = temperatures(*raw)
    assert found.dropped == 1
    assert [value for value in found.values if value is not None] == [97.0, 97.5, 98.0, 98.0]
    assert found.values[place] is None


def test_a_jump_up_and_down_again_is_no_temperature() -> None:
    """Spikes in jxlarrea/kiosk-satellite #654."""
    assert temperatures(38000, 38100, 125000, 38100, 38000).dropped == 1
    assert temperatures(125000, 38100, 38100).values == [None, 38.1, 38.1]
    assert temperatures(38000, 38100, 125000).values == [38.0, 38.1, None]


@pytest.mark.parametrize(
    "raw",
    [
        [36000, 65000, 71000, 70000],  # a core that begins to work
        [36000, 71000, 36000, 37000],  # one second of work
        [95000, 60000, 58000],  # the end of it
        [95000, 60000, 95000],
        [38000, 125000],  # which of two is wrong, nobody knows
        [38000, 125000, 126000, 39000],
    ],
)
def test_what_a_core_does_is_no_spike(raw: list[int]) -> None:
    assert temperatures(*raw).dropped == 0


def test_readings_far_apart_say_nothing_of_each_other() -> None:
    every_ten_seconds = [10.0 * count for count in range(5)]
    assert thermal.temperatures([40.0, 85.0, 41.0, 85.0, 40.0], every_ten_seconds, unit=1).dropped == 0


@pytest.mark.parametrize(
    ("raw", "celsius"),
    [
        ([31, 32, 41000], [31.0, 32.0, None]),  # whole degrees
        ([412, 413, 41000], [41.2, 41.3, None]),  # tenths
        ([41200, 41300, 3], [41.2, 41.3, 0.003]),
        ([None, 41300, None], [None, 41.3, None]),
    ],
)
def test_a_zones_unit_is_that_of_most_readings(raw: list[int | None], celsius: list[float | None]) -> None:
    assert temperatures(*raw).values == celsius


@pytest.mark.parametrize("raw", [[0, 0], [1_050_000, 1_050_000], [-127000], [None], [], [-127000, -127000, 40000]])
def test_a_zone_that_is_mostly_implausible_is_no_temperature(raw: list[int | None]) -> None:
    assert temperatures(*raw) == Cleaned([None] * len(raw))


ROOM = {"cpu-0": [25.0] * 3, "cpu-1": [26.0] * 3, "battery": [24.0] * 3, "skin": [24.5] * 3}


@pytest.mark.fault(
    "A temperature sensor is stuck at a fixed high value",
    transport="any",
    outcome="`doctor` and `bench --cool` name it and leave it out",
)
@pytest.mark.parametrize("parked", [125.0, 150.0, 120.0, 99.0, 85.0])
def test_a_sensor_far_above_all_others_that_never_moves_is_stuck(parked: float) -> None:
    """A mtkts_bts1 parked at 125000 (jxlarrea/kiosk-satellite #654)."""
    assert thermal.stuck(ROOM | {"mtkts_bts1": [parked] * 3}) == {"mtkts_bts1": parked}


def test_several_stuck_sensors() -> None:
    both = {"mtkts_bts0": [125.0] * 3, "mtkts_bts1": [125.0] * 3}
    assert thermal.stuck(ROOM | both) == {"mtkts_bts0": 125.0, "mtkts_bts1": 125.0}
    assert thermal.stuck(ROOM | {"a": [149.0] * 3, "b": [90.0] * 3}) == {"a": 149.0, "b": 90.0}
    working = {"cpu-0": [81.0, 84.0, 83.0], "cpu-1": [79.0, 82.0, 82.0], "skin": [40.0] * 3}
    assert thermal.stuck(working | both) == {"mtkts_bts0": 125.0, "mtkts_bts1": 125.0}


@pytest.mark.parametrize(
    "hot",
    [
        {"cpu-0": [95.0, 94.0, 93.5]},  # it moves
        {"cpu-0": [95.0] * 3, "cpu-1": [94.0] * 3, "cpu-2": [90.0] * 3},  # it has hot neighbours
        {"cpu-0": [61.0] * 3},  # a working core can be so far above
        {"cpu-0": [95.0] * 2},  # two readings
        {"cpu-0": [95.0]},
    ],
)
def test_a_sensor_that_is_really_hot_is_kept(hot: dict[str, list[float]]) -> None:
    others = {"battery": [31.0] * 3, "skin": [30.0] * 3}
    assert thermal.stuck(others | hot) == {}
    assert thermal.stuck(hot) == {}


def test_nothing_is_stuck_where_there_is_nothing() -> None:
    assert thermal.stuck({}) == thermal.stuck({"cpu": []}) == thermal.stuck({"only": [125.0] * 9}) == {}


# --- the temperatures of a phone's description ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "celsius"),
    [
        ("26000 BIG", 26.0),
        ("36100 cpuss-0-0", 36.1),
        ("-1500 outside", -1.5),
        ("48 tsens_tz_sensor0", 48.0),  # whole degrees, on old Qualcomm kernels
        ("412 battery", 41.2),  # tenths
        ("29500 shell_front", 29.5),  # where OEMs park a zone without a sensor: nothing tells it apart
    ],
)
def test_a_temperature(line: str, celsius: float) -> None:
    assert parse_temperatures(line) == {line.partition(" ")[2]: celsius}


@pytest.mark.parametrize(
    "line",
    [
        "0 VIRTUAL-USB-UI",  # no sensor
        "1050 vdroop1",  # mV
        "11900 ocp_cpu2",  # mA
        "8900 soft_ocp_gpu",
        "4900 batoilo",
        "1300 smpl_gm",
        "19 soc",  # percent
        "98 socd",
        "4127 vbat",
        "35 ibat",
        "1 battery_cycle",
        "-820 USB2-MINUS-QI",  # a difference
        "2147483647 xo_therm",
        "-2147483648 xo_therm",
        "-274000 pa_therm",
        "BIG",
        "warm BIG",
        "",
        "26000 ",
    ],
)
def test_what_is_no_temperature(line: str) -> None:
    assert parse_temperatures(line) == {}


def test_zones_of_one_name_are_all_kept() -> None:
    assert parse_temperatures("26000 cpu\n27000 cpu\n28000 cpu") == {"cpu": 26.0, "cpu 2": 27.0, "cpu 3": 28.0}
