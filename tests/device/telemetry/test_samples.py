from __future__ import annotations

import pytest
from pydantic import ValidationError

from smoothdroid.device.telemetry.samples import Observation, Sample


def test_a_record_survives_its_way_through_a_file() -> None:
    sample = Sample(
        at_s=1.5,
        celsius={"BIG": 61.0},
        mhz={8: 2914},
        cap_mhz={8: 2914},
        online=[0, 8],
        thread_cpus={4711: [8]},
        major_faults=3,
        battery_ma=-125,
    )
    observation = Observation(max_mhz={8: 2914}, samples=[sample])
    assert Observation.model_validate_json(observation.model_dump_json()) == observation


def test_what_is_not_told_is_not_zero() -> None:
    sample = Sample(at_s=0.0)
    assert (sample.celsius, sample.mhz, sample.swapped_mb, sample.major_faults) == ({}, {}, None, None)


@pytest.mark.parametrize(
    "told",
    [
        {"max_mhz": {"0": 0}},
        {"max_mhz": {"-1": 1000}},
        {"trip_celsius": {"SKIN": "nan"}},
        {"samples": [{"at_s": "inf"}]},
        {"samples": [{"at_s": 0, "celsius": {"SKIN": "nan"}}]},
        {"samples": [{"at_s": 0, "swapped_mb": -1}]},
        {"samples": [{"at_s": 0, "smell": 1}]},
    ],
)
def test_what_no_phone_can_mean_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Observation.model_validate(told)
