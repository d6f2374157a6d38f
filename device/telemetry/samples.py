"""The samples of a cell moment by moment: the record that a verdict on the measurement is built on."""

from __future__ import annotations

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from smoothdroid.device.common.record import Record
from smoothdroid.device.info.battery import Battery

TICKS_PER_S = 100
"""Ticks of /proc/PID/stat in a second: USER_HZ, which is 100 on every CPU that Android runs on."""


class Sample(Record):
    """The state of the phone at one moment; a value that the phone does not report is None or absent, never 0."""

    at_s: FiniteFloat
    """The time by the phone's monotonic clock, from a start that all samples of an observation share."""
    celsius: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Thermal zone -> temperature."""
    thermal_status: int | None = None
    """The worst current state of the sensors of Android's HAL: 0 none, 1 light, 2 moderate, 3 severe
    throttling, to 6. The service's global status can be stale and does not count."""
    mhz: dict[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    """CPU -> its frequency."""
    cap_mhz: dict[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    """CPU -> the highest frequency that it is allowed now (scaling_max_freq)."""
    online: list[int] | None = None
    """The CPUs that are switched on."""
    thread_cpus: dict[int, list[int]] = Field(default_factory=dict)
    """Each thread of the benchmark -> the CPUs it may run on, from Cpus_allowed_list."""
    available_mb: NonNegativeInt | None = None
    rss_mb: NonNegativeInt | None = None
    """The resident memory of the benchmark; the next two fields are the benchmark's too."""
    swapped_mb: NonNegativeInt | None = None
    major_faults: NonNegativeInt | None = None
    """The pages that it had to wait for from storage, since its start."""
    battery: Battery | None = None
    battery_ma: int | None = None
    """The current drawn from the battery; negative while it is charged."""
    battery_mv: int | None = None


class Observation(Record):
    """The samples taken while a cell's repetitions ran, without loading, warm-up and waiting."""

    max_mhz: dict[NonNegativeInt, PositiveInt] = Field(default_factory=dict)
    """CPU -> the frequency that it was built for (cpuinfo_max_freq)."""
    trip_celsius: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Thermal zone -> its lowest passive trip point, from which the phone slows down."""
    dropped: dict[str, PositiveInt] = Field(default_factory=dict)
    """Sensor, `thermal_zone3 (cpu-0)` -> the number of its readings that were implausible and left out."""
    stuck: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Stuck sensor, which is left out -> the temperature that it shows."""
    samples: list[Sample] = Field(default_factory=list)
    """The samples in the order of time."""
