from __future__ import annotations

import pytest

from smoothdroid.device.info import readings

SECONDS = [float(second) for second in range(60)]


def temperatures(*raw: int | None) -> readings.Cleaned:
    return readings.temperatures(raw, SECONDS)


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
    assert readings.temperatures([40.0, 85.0, 41.0, 85.0, 40.0], every_ten_seconds, unit=1).dropped == 0


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
    assert temperatures(*raw) == readings.Cleaned([None] * len(raw))


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
    found = readings.milliamperes(raw)
    assert (found.values, found.dropped) == (milliampere, milliampere.count(None))


def test_odd_voltages_levels_and_frequencies_are_left_out() -> None:
    assert readings.volts([4127, 4100, 4_294_967_295, 0]) == readings.Cleaned([4.127, 4.1, None, None], 2)
    assert readings.volts([4_127_000, 4_100_000, 12]) == readings.Cleaned([4.127, 4.1, None], 1)
    assert readings.percents([77, 255, -1]) == readings.Cleaned([77, None, None], 2)
    assert readings.tenths_of_degrees([242, -1270]) == readings.Cleaned([24.2, None], 1)
    assert readings.megahertz([2_914_000, 0, 65535, 4_294_967_295]) == readings.Cleaned([2914, None, None, None], 3)


def test_a_sensor_that_never_answers_is_absent_and_not_counted() -> None:
    """Some MediaTek phones have INT_MIN for every current."""
    assert readings.milliamperes([-(2**31)] * 3) == readings.Cleaned([None] * 3)


@pytest.mark.parametrize("text", ["", "-", "²", "٣", "1" * 16, "1" * 400, "5-2", "+1", "1e3", " 1", "1\n", "0x10"])
def test_what_no_kernel_writes_is_no_number(text: str) -> None:
    assert readings.number(text) is None


ROOM = {"cpu-0": [25.0] * 3, "cpu-1": [26.0] * 3, "battery": [24.0] * 3, "skin": [24.5] * 3}


@pytest.mark.fault(
    "A temperature sensor is stuck at a fixed high value",
    transport="any",
    outcome="`doctor` and `bench --cool` name it and leave it out",
)
@pytest.mark.parametrize("parked", [125.0, 150.0, 120.0, 99.0, 85.0])
def test_a_sensor_far_above_all_others_that_never_moves_is_stuck(parked: float) -> None:
    """A mtkts_bts1 parked at 125000 (jxlarrea/kiosk-satellite #654)."""
    assert readings.stuck(ROOM | {"mtkts_bts1": [parked] * 3}) == {"mtkts_bts1": parked}


def test_several_stuck_sensors() -> None:
    both = {"mtkts_bts0": [125.0] * 3, "mtkts_bts1": [125.0] * 3}
    assert readings.stuck(ROOM | both) == {"mtkts_bts0": 125.0, "mtkts_bts1": 125.0}
    assert readings.stuck(ROOM | {"a": [149.0] * 3, "b": [90.0] * 3}) == {"a": 149.0, "b": 90.0}
    working = {"cpu-0": [81.0, 84.0, 83.0], "cpu-1": [79.0, 82.0, 82.0], "skin": [40.0] * 3}
    assert readings.stuck(working | both) == {"mtkts_bts0": 125.0, "mtkts_bts1": 125.0}


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
    assert readings.stuck(others | hot) == {}
    assert readings.stuck(hot) == {}


def test_nothing_is_stuck_where_there_is_nothing() -> None:
    assert readings.stuck({}) == readings.stuck({"cpu": []}) == readings.stuck({"only": [125.0] * 9}) == {}
