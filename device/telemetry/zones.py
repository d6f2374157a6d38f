"""The temperatures of a samples file: thermal zones of sysfs, or else the sensors of Android's service."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smoothdroid.device.info import thermal
from smoothdroid.device.info.readings import PLAUSIBLE_CELSIUS, Series, number
from smoothdroid.device.telemetry.runner_file import Answers, RunnerFile, from_hal, refuse_too_much

NO_TEMPERATURE_TYPES = (6, 7, 8)
"""The values of Android's TemperatureType for voltage, current and percentage of the battery's limits."""


def zones(
    file: RunnerFile, time_s: Sequence[float], dropped: dict[str, int]
) -> tuple[dict[str, Series], dict[str, float]]:
    """Return each zone's temperatures without stuck sensors, and the stuck ones with the temperature they show.

    Zones of one type get their number in the name. A stuck sensor, and one with readings in `dropped`, is labelled
    `thermal_zone3 (cpu-0)`.
    """
    celsius, labels = _sysfs_zones(file, time_s, dropped)
    if not celsius:
        celsius = _hal_sensors(file.answers, time_s, dropped)
    still = thermal.stuck({zone: _known(values) for zone, values in celsius.items()}, thermal.SHUTDOWN_CELSIUS)
    moving = {zone: values for zone, values in celsius.items() if zone not in still}
    return moving, {labels.get(zone, zone): value for zone, value in still.items()}


def trip_points(file: RunnerFile) -> dict[str, float]:
    """Return the lowest passive trip point of each zone, in degrees Celsius."""
    trips: dict[str, float] = {}
    for zone, value in file.constants("trip"):
        celsius = value / thermal.per_degree(value)
        if 0 < celsius <= PLAUSIBLE_CELSIUS[1]:
            trips[zone] = min(celsius, trips.get(zone, celsius))
    return trips


def _sysfs_zones(
    file: RunnerFile, time_s: Sequence[float], dropped: dict[str, int]
) -> tuple[dict[str, Series], dict[str, str]]:
    celsius: dict[str, Series] = {}
    labels: dict[str, str] = {}
    for name, values in file.of_kind("zone"):
        if len(name) < 3 or thermal.NO_TEMPERATURE.fullmatch(name[2]):
            continue
        label = f"{name[1]} ({name[2]})"
        cleaned = thermal.temperatures([number(value) for value in values], time_s)
        if _known(cleaned.values):
            zone = name[2] if name[2] not in celsius else f"{name[2]} ({name[1]})"
            celsius[zone], labels[zone] = cleaned.counted(label, dropped), label
    return celsius, labels


def _hal_sensors(answers: Sequence[Answers], time_s: Sequence[float], dropped: dict[str, int]) -> dict[str, Series]:
    celsius: dict[str, Series] = {}
    sensors = _hal_readings(answers)
    refuse_too_much(len(sensors), len(time_s))
    for sensor, readings in sensors.items():
        cleaned = thermal.temperatures(list(readings.values()), [time_s[index] for index in readings], unit=1)
        if _known(cleaned.values):
            values = dict(zip(readings, cleaned.counted(sensor, dropped), strict=True))
            celsius[sensor] = [values.get(index) for index in range(len(time_s))]
    return celsius


def _hal_readings(answers: Sequence[Answers]) -> dict[str, dict[int, float]]:
    """Return the readings of each sensor of Android's service, by the number of the sample."""
    readings: dict[str, dict[int, float]] = {}
    pattern = r"\{mValue=(-?[0-9]{1,10}(?:\.[0-9]{1,20})?), mType=(-?[0-9]{1,4}), mName=([^,}\n]{1,100}),"
    for index, services in enumerate(answers):
        for value, kind, name in re.findall(pattern, from_hal(services)):
            if int(kind) not in NO_TEMPERATURE_TYPES and not thermal.NO_TEMPERATURE.fullmatch(name):
                readings.setdefault(name, {})[index] = float(value)
    return readings


def _known(values: Series) -> list[float]:
    return [value for value in values if value is not None]
