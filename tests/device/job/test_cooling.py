from __future__ import annotations

import pytest
from pydantic import ValidationError

from smoothdroid.device.job.cooling import Zone, Zones

ROOM = ["thermal_zone0 26000 cpu-0", "thermal_zone1 25 battery", "thermal_zone2 245 skin front"]


def three(*lines: str) -> str:
    return "".join(f"{line}\n" for line in (*lines, *lines, *lines))


def test_a_zones_start_is_the_median_in_its_own_unit() -> None:
    """One odd answer among three decides nothing."""
    said = "".join(f"thermal_zone0 {value} cpu-0\nthermal_zone1 25 battery\n" for value in (26000, -127000, 26400))
    found = Zones.parse(said)
    assert found.zones == [
        Zone(name="thermal_zone0", kind="cpu-0", celsius=26.0, per_degree=1000),
        Zone(name="thermal_zone1", kind="battery", celsius=25.0, per_degree=1),
    ]
    assert found.stuck == []


def test_limits_are_in_the_zones_own_unit() -> None:
    zones = Zones.parse(three(*ROOM))
    assert zones.limits(None, 2.0).splitlines() == [
        "thermal_zone0 28000 -30000 150000 cpu-0",
        "thermal_zone1 27 -30 150 battery",
        "thermal_zone2 265 -300 1500 skin_front",
    ]
    assert zones.limits(40.0, None).startswith("thermal_zone0 40000 ")
    assert zones.limits(27.0, 2.0).startswith("thermal_zone0 27000 ")
    assert zones.limits(None, None) == ""


def test_sensors_of_androids_service() -> None:
    (zone,) = Zones.parse(three("hal:SKIN 50770", "hal:vdroop1 1050000", "hal:vdroop2 50000")).zones
    assert zone == Zone(name="hal:SKIN", kind="SKIN", celsius=50.77, per_degree=1000)


@pytest.mark.fault(
    "A temperature sensor is parked at 125 degrees while all others are at 25",
    transport="any",
    outcome="`bench --cool` names it and does not wait for it",
)
def test_a_stuck_sensor_is_not_waited_for() -> None:
    """A mtkts_bts1 parked at 125000 (jxlarrea/kiosk-satellite #654)."""
    found = Zones.parse(three(*ROOM, "thermal_zone5 125000 mtkts_bts1"))
    assert [str(zone) for zone in found.stuck] == ["mtkts_bts1 (thermal_zone5)"]
    assert "thermal_zone5" not in found.limits(40.0, None)


def test_what_is_really_hot_is_waited_for() -> None:
    moves = "".join(f"thermal_zone5 {value} cpu-1\n" for value in (96000, 95500, 95000))
    for hot in (moves, three("thermal_zone5 96000 cpu-1", "thermal_zone6 94000 cpu-2"), three("thermal_zone5 61000 x")):
        found = Zones.parse(three(*ROOM) + hot)
        assert found.stuck == []
        assert "thermal_zone5" in found.limits(40.0, None)


@pytest.mark.parametrize(
    "line", ["", "thermal_zone5 ² x", "thermal_zone5 5-2 x", "thermal_zone99999 40000 x", "zone 1 x"]
)
def test_what_the_runner_does_not_say_is_no_zone(line: str) -> None:
    assert Zones.parse(three(line, f"thermal_zone5 {'9' * 400} x", "thermal_zone6 x cpu")).zones == []


def test_a_phone_has_no_endless_number_of_zones() -> None:
    assert len(Zones.parse(three(*(f"thermal_zone{number} 26000 cpu" for number in range(5000)))).zones) == 1000


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "thermal_zone0/../x", "thermal_zone0\nthermal_zone1", "hal:a b"]
)
def test_a_record_with_other_names_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Zone(name=name, kind="x", celsius=20.0, per_degree=1)


def test_any_name_of_a_zone_is_made_one_word_for_the_runner() -> None:
    found = Zones.parse(three("thermal_zone5 26000 온도 $(id)", "thermal_zone6 26000 " + "x" * 400))
    assert found.limits(40.0, None) == (
        f"thermal_zone5 40000 -30000 150000 _____id_\nthermal_zone6 40000 -30000 150000 {'x' * 60}\n"
    )
