"""Thermal zones: their unit, which readings are plausible temperatures, and which sensors are stuck."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from smoothdroid.device.info.readings import ERROR_VALUES, PLAUSIBLE_CELSIUS, Cleaned, Series, clean, number, within

# Zones of Pixels and Snapdragons that hold currents, voltages, percents, counts and differences of temperatures.
NO_TEMPERATURE = re.compile(r"(soft_)?ocp_.*|vdroop\d|smpl_gm|batoilo|socd?|[vi]bat|battery_cycle|.*-MINUS-.*")

JUMP_CELSIUS = 40.0  # a jump and its return within two samples: more than a core causes that begins or ends its work
EDGE_JUMP_CELSIUS = 60.0  # a jump of the first or the last reading, which has neighbours on one side only
NEIGHBOURS_CELSIUS = 20.0  # the readings before and after a jump differ by no more
NEIGHBOUR_S = 3.0  # readings further apart are not compared

STUCK_READINGS = 3
"""The number of equal readings, one second apart, from which a sensor counts as stuck."""

STUCK_GAP_CELSIUS = 50.0
"""The least distance of a stuck sensor from every other: a hot core warms its neighbours and the skin."""

SHUTDOWN_CELSIUS = 115.0
"""The temperature at which a phone switches itself off (Exynos 115, MediaTek 117 degrees)."""

SHUTDOWN_GAP_CELSIUS = 20.0
"""The least distance from every other sensor for a stuck one at SHUTDOWN_CELSIUS."""


def parse_temperatures(thermal: str) -> dict[str, float]:
    """Parse lines "VALUE TYPE" into degrees Celsius by zone, without values that are not temperatures."""
    celsius: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for line in thermal.split("\n"):
        value, _, zone = line.partition(" ")
        if not zone or NO_TEMPERATURE.fullmatch(zone):
            continue
        (degrees,) = temperatures([number(value)], [0.0]).values
        if degrees is not None:
            seen[zone] += 1
            celsius[zone if seen[zone] == 1 else f"{zone} {seen[zone]}"] = degrees
    return celsius


def per_degree(value: float) -> int:
    """Return how many of a thermal zone's units are a degree Celsius, from the size of its value.

    sysfs documents millidegrees; some drivers write whole degrees or tenths.
    """
    return 1000 if abs(value) >= 1000 else 10 if abs(value) > PLAUSIBLE_CELSIUS[1] else 1


def is_temperature(celsius: float) -> bool:
    """Return whether a sensor in a phone can have this temperature."""
    return within(celsius, PLAUSIBLE_CELSIUS)


def zone_unit(raw: Sequence[float | None]) -> int | None:
    """Return how many units a degree is, from the median of the plausible readings; None where there are none."""
    answers = (value for value in raw if value and value not in ERROR_VALUES)
    known = [value for value in answers if is_temperature(value / per_degree(value))]
    return per_degree(statistics.median(known)) if known else None


def temperatures(raw: Sequence[float | None], time_s: Sequence[float], unit: int | None = None) -> Cleaned:
    """Convert a thermal zone's readings, taken at `time_s`, to degrees Celsius. An absent sensor reads 0.

    `unit` is how many of the zone's units are a degree; by default it is derived from the readings. Every reading is
    dropped where most are beyond PLAUSIBLE_CELSIUS: such a zone is not a temperature.
    """
    unit = unit or zone_unit(raw)
    nothing = Cleaned([None] * len(raw))
    if unit is None:
        return nothing
    cleaned = clean([value or None for value in raw], unit, PLAUSIBLE_CELSIUS)
    known = [value for value in cleaned.values if value is not None]
    if not known or len(known) < cleaned.dropped:
        return nothing
    # A zone far from 0 does not read 0 between two readings: its sensor did not answer.
    zeros = sum(value == 0 for value in raw) if statistics.median(known) > 10 else 0
    spikes = _spikes(cleaned.values, time_s)
    values = [None if index in spikes else value for index, value in enumerate(cleaned.values)]
    return Cleaned(values, cleaned.dropped + zeros + len(spikes))


def stuck(readings: Mapping[str, Sequence[float]], least: float = PLAUSIBLE_CELSIUS[0]) -> dict[str, float]:
    """Return the sensors that are stuck far above all others, each with its value.

    `readings` holds those of each sensor, in degrees Celsius. A stuck sensor is at `least` or above and has the same
    value in all of its readings, STUCK_READINGS or more. It is STUCK_GAP_CELSIUS above every other and the only one
    there, as a hot core has hot neighbours; or it is at SHUTDOWN_CELSIUS or more, SHUTDOWN_GAP_CELSIUS above the rest.
    """
    found: dict[str, float] = {}
    rest = sorted(((min(values), zone) for zone, values in readings.items() if values), reverse=True)
    while gap := next((at for at in range(1, len(rest)) if _is_gap(rest[at - 1][0], rest[at][0])), 0):
        above, rest = {zone: celsius for celsius, zone in rest[:gap]}, rest[gap:]
        lowest = min(above.values())
        still = all(len(readings[zone]) >= STUCK_READINGS and len(set(readings[zone])) == 1 for zone in above)
        if not still or lowest < least or (len(above) > 1 and lowest < SHUTDOWN_CELSIUS):
            break
        found |= above
    return found


def _is_gap(above: float, below: float) -> bool:
    return above - below >= (SHUTDOWN_GAP_CELSIUS if above >= SHUTDOWN_CELSIUS else STUCK_GAP_CELSIUS)


def _spikes(values: Series, time_s: Sequence[float]) -> set[int]:
    """Return the indices of single readings that differ from those around them, which agree with each other."""
    known = [index for index, value in enumerate(values) if value is not None]
    found = set()
    for place, index in enumerate(known):
        edge = place in (0, len(known) - 1)
        first = min(max(place - 1, 0), max(len(known) - 3, 0))
        around = [other for other in known[first : first + 3] if other != index]
        if len(around) < 2 or any(abs(time_s[other] - time_s[index]) > 2 * NEIGHBOUR_S for other in around):
            continue
        value, one, other = (values[at] or 0.0 for at in (index, *around))
        if edge and value < one:
            continue  # work begins or ends there
        jump = EDGE_JUMP_CELSIUS if edge else JUMP_CELSIUS
        if abs(one - other) <= NEIGHBOURS_CELSIUS and min(abs(value - one), abs(value - other)) > jump:
            found.add(index)
    return found
