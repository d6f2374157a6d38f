"""Throttling as real phones showed it. Where the moments come from: tests/data/cells/SOURCES.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.telemetry.samples import Observation, Sample
from smoothdroid.host.results.finding import Finding, Measured
from smoothdroid.host.results.throttling_checks import capped, in_use, slowed, tripped, unplugged

CELLS = Path(__file__).parents[2] / "data/cells"
PIXEL_8 = dict.fromkeys(range(4), 1704) | dict.fromkeys(range(4, 8), 2367) | {8: 2914}


def observed(name: str) -> Observation:
    return Observation.model_validate_json((CELLS / f"{name}.json").read_bytes())


def cell(observation: Observation, threads: int = 4, **known: Any) -> Measured:
    return Measured(tokens_per_s=[10.0, 10.1, 9.9], threads=threads, observation=observation, **known)


def moments(*samples: dict[str, Any], max_mhz: dict[int, int] = PIXEL_8, **known: Any) -> Observation:
    taken = [Sample(at_s=float(second), **sample) for second, sample in enumerate(samples)]
    return Observation(max_mhz=max_mhz, samples=taken, **known)


def found(finding: Finding | None) -> str:
    assert finding is not None
    assert (finding.check, finding.invalid) == ("throttled", True)
    assert "cool" in finding.advice
    return finding.found


ALL = (capped, slowed, tripped, unplugged)


def test_a_hot_phone_whose_global_status_says_nothing() -> None:
    hot = cell(observed("xiaomi-13t-pro-hot"))
    assert found(tripped(hot)) == "SKIN was at 50.8 °C, and the phone begins to slow down at 50.0 °C"
    assert found(slowed(hot)) == "no CPU in use ran faster, half of the time, than CPU 7 at 1300 of its 3350 MHz"
    assert capped(hot) is None  # its caps were not read


def test_a_phone_that_switches_its_big_cores_off() -> None:
    hot = observed("ayn-thor-78-degrees")
    assert found(unplugged(cell(hot, cpus=[3, 4, 5, 6, 7], threads=5))) == "CPUs 3-7 were switched off for a time"
    assert found(unplugged(cell(hot))) == "CPUs 3-7 were switched off for a time"
    assert unplugged(cell(hot, cpus=[0, 1, 2], threads=3)) is None
    assert unplugged(cell(hot, threads=3)) is None
    assert "xo-therm was at 78.0 °C" in found(tripped(cell(hot)))


@pytest.mark.parametrize("name", ["xiaomi-13t-pro-idle", "galaxy-s25-llama-bench"])
def test_a_warm_phone_is_not_a_throttled_one(name: str) -> None:
    assert [check(cell(observed(name))) for check in ALL] == [None] * 4


def test_a_phone_that_says_nothing_is_not_a_throttled_one() -> None:
    for nothing in (Observation(), moments({}), moments({}, max_mhz={})):
        for cpus in (None, [4, 5]):
            assert [check(cell(nothing, cpus=cpus)) for check in ALL] == [None] * 4


# --- caps ---------------------------------------------------------------------------------------------------


def test_one_capped_moment_is_enough_and_the_lowest_is_named() -> None:
    cool = {"cap_mhz": PIXEL_8}
    caps = moments(cool, {"cap_mhz": PIXEL_8 | {8: 1557}}, {"cap_mhz": PIXEL_8 | {8: 2049}}, cool)
    assert found(capped(cell(caps))) == "CPU 8 was held to 1557 of its 2914 MHz"


def test_the_last_step_of_the_scale_is_no_cap() -> None:
    assert capped(cell(moments({"cap_mhz": PIXEL_8 | {8: 2802}}))) is None
    assert capped(cell(moments({"cap_mhz": PIXEL_8 | {8: 2750}}))) is not None


def test_a_cap_on_cpus_that_do_not_work_does_not_matter() -> None:
    little = moments({"cap_mhz": PIXEL_8 | {0: 820, 1: 820, 2: 820, 3: 820}})
    assert capped(cell(little, cpus=[4, 5, 6, 7])) is None
    assert capped(cell(little, threads=5)) is None  # five heavy threads find five faster CPUs
    assert capped(cell(little, threads=6)) is not None
    assert capped(cell(little, cpus=[0, 4], threads=2)) is not None


def test_without_a_mask_the_fastest_cpus_that_android_allows_are_in_use() -> None:
    assert in_use(cell(moments({}), threads=1)) == {8}
    assert in_use(cell(moments({}), threads=3)) == {4, 5, 6, 7, 8}  # which two of four alike, nobody knows
    background = moments({"thread_cpus": {1: [0, 1, 2, 3]}})
    assert in_use(cell(background, threads=2)) == {0, 1, 2, 3}
    assert in_use(cell(background, threads=2, cpus=[8])) == {8}


# --- frequencies --------------------------------------------------------------------------------------------


def test_a_short_dip_is_not_slow_and_half_of_the_time_is() -> None:
    fast, slow = {"mhz": {7: 2367, 8: 2914}}, {"mhz": {7: 1000, 8: 1200}}
    assert slowed(cell(moments(fast, fast, slow, fast))) is None
    assert "CPU 7 at 1000 of its 2367" in found(slowed(cell(moments(fast, slow, slow, slow))))


def test_idle_cpus_beside_a_busy_one_are_not_slow() -> None:
    assert slowed(cell(moments({"mhz": {4: 402, 5: 402, 8: 2914}}))) is None


def test_a_cpu_without_a_known_top_speed_is_left_out() -> None:
    assert slowed(cell(moments({"mhz": {8: 500}}, max_mhz={0: 1704}), cpus=[0, 8])) is None
    assert capped(cell(moments({"cap_mhz": {8: 500}}, max_mhz={0: 1704}), cpus=[0, 8])) is None


# --- temperatures -------------------------------------------------------------------------------------------


def test_a_trip_point_that_a_resting_phone_meets_is_none() -> None:
    room = moments({"celsius": {"quiet": 31.0}}, trip_celsius={"quiet": 30.0})
    assert tripped(cell(room)) is None


def test_the_zone_furthest_beyond_its_trip_point_is_named() -> None:
    hot = {"celsius": {"BIG": 96.0, "SKIN": 52.0, "free": 140.0}}
    assert found(tripped(cell(moments(hot, trip_celsius={"BIG": 95.0, "SKIN": 45.0})))).startswith("SKIN was at 52.0")
    assert tripped(cell(moments(hot, trip_celsius={"BIG": 96.1}))) is None


def test_androids_own_word_counts() -> None:
    assert "status was 2" in found(tripped(cell(moments({"thermal_status": 0}, {"thermal_status": 2}, {}))))
