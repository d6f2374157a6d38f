"""What a phone says of itself while it measures: the record that a verdict on the measurement is built on."""

from __future__ import annotations

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from smoothdroid.device.common.record import Record
from smoothdroid.device.info.battery import Battery

TICKS_PER_S = 100
"""Ticks of /proc/PID/stat in a second: USER_HZ, which is 100 on every CPU that Android runs on."""


class Sample(Record):
    """One moment. What this phone does not say is None or not in the table; it is never 0."""

    at_s: FiniteFloat
    """By a clock of the phone that nobody sets, from a start that all samples of an observation share."""
    celsius: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Thermal zone -> temperature."""
    thermal_status: int | None = None
    """The worst of the states that Android's HAL gives its sensors now: 0 none, 1 light, 2 moderate, 3 severe
    throttling, to 6. The service's global status can be stale and does not count."""
    mhz: dict[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    """CPU -> what it runs at."""
    cap_mhz: dict[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    """CPU -> what it may run at now (scaling_max_freq)."""
    online: list[int] | None = None
    """CPUs that are switched on."""
    thread_cpus: dict[int, list[int]] = Field(default_factory=dict)
    """Each thread of the benchmark -> the CPUs it may run on, from Cpus_allowed_list."""
    available_mb: NonNegativeInt | None = None
    rss_mb: NonNegativeInt | None = None
    """Of the benchmark, as are the next two."""
    swapped_mb: NonNegativeInt | None = None
    major_faults: NonNegativeInt | None = None
    """Pages that it has had to wait for storage for, since its start."""
    battery: Battery | None = None
    battery_ma: int | None = None
    """Drawn from the battery; negative while it is being filled."""
    battery_mv: int | None = None


class Observation(Record):
    """The samples taken while a cell's repetitions ran: without its loading, its warm-up and its waiting."""

    max_mhz: dict[NonNegativeInt, PositiveInt] = Field(default_factory=dict)
    """CPU -> what it was built for (cpuinfo_max_freq)."""
    trip_celsius: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Thermal zone -> where the phone begins to slow down, the lowest of its passive trip points."""
    dropped: dict[str, PositiveInt] = Field(default_factory=dict)
    """Sensor, `thermal_zone3 (cpu-0)` -> how many of its readings were implausible and left out."""
    stuck: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Sensor that never moves and is far above all others -> the temperature that it shows; it is left out."""
    samples: list[Sample] = Field(default_factory=list)
    """In the order of time."""
