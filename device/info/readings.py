"""Readings of sensors: their unit, which of them are plausible, and which sensors are stuck."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Series = list[float | None]
"""A value for each sample; None where it could not be read, or was implausible."""

PLAUSIBLE_CELSIUS = (-30.0, 150.0)  # thermal zones also hold mV, mA, percent and "no sensor" in the same files
PLAUSIBLE_VOLT = (1.0, 30.0)  # a worn cell's and a tablet's with several in series
PLAUSIBLE_MA = (-30_000.0, 30_000.0)  # beyond what the fastest chargers push
PLAUSIBLE_MHZ = (10.0, 10_000.0)
PLAUSIBLE_PERCENT = (0.0, 100.0)

# What a driver writes that got no answer from its sensor: registers full of ones, and the ends of an int.
ERROR_VALUES = {65535, 32767, -32768, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63)}

# Zones of Pixels and Snapdragons that are currents, voltages, percents, counts and differences of temperatures.
NO_TEMPERATURE = re.compile(r"(soft_)?ocp_.*|vdroop\d|smpl_gm|batoilo|socd?|[vi]bat|battery_cycle|.*-MINUS-.*")

# Nothing that runs a benchmark draws less than 16 mA, so a series that mostly stays below is no uA. Some drivers of
# Samsung and others report mA where the kernel's ABI wants uA (the border is that of github.com/VR-25/acc).
LEAST_MICROAMPERE = 16_000
LEAST_MICROVOLT = 100_000  # below, it is mV

JUMP_CELSIUS = 40.0  # up and down again within two samples: more than a core that begins or ends its work
EDGE_JUMP_CELSIUS = 60.0  # of the first or the last reading, which has neighbours on one side only
NEIGHBOURS_CELSIUS = 20.0  # so close are the readings around a jump to each other
NEIGHBOUR_S = 3.0  # readings further apart say nothing of each other

STUCK_READINGS = 3
"""A sensor is called stuck after so many readings, one second apart, that are all the same."""

STUCK_GAP_CELSIUS = 50.0
"""A stuck sensor is at least so far above every other: a hot core warms its neighbours and the skin."""

SHUTDOWN_CELSIUS = 115.0
"""A phone that is as hot as this switches itself off (Exynos 115, MediaTek 117 degrees)."""

SHUTDOWN_GAP_CELSIUS = 20.0
"""So far above every other is enough for a sensor at SHUTDOWN_CELSIUS."""


@dataclass(frozen=True)
class Cleaned:
    """A sensor's readings in one unit, without those that no such sensor can mean."""

    values: Series
    dropped: int = 0
    """Readings that were there and implausible. 0 for a sensor of which nothing is plausible: it counts as absent."""


def number(text: str) -> int | None:
    """The decimal integer that a kernel writes; None for anything else, also for other scripts' digits."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,15}", text) else None


def per_degree(value: float) -> int:
    """How many of a thermal zone's units are a degree Celsius, from the size of its value.

    sysfs documents millidegrees; some drivers write whole degrees or tenths.
    """
    return 1000 if abs(value) >= 1000 else 10 if abs(value) > PLAUSIBLE_CELSIUS[1] else 1


def is_temperature(celsius: float) -> bool:
    """Whether a sensor in a phone can mean it."""
    return _within(celsius, PLAUSIBLE_CELSIUS)


def zone_unit(raw: Sequence[float | None]) -> int | None:
    """How many units a degree is, from the median of a zone's plausible readings; None where it has none."""
    said = (value for value in raw if value and value not in ERROR_VALUES)
    known = [value for value in said if is_temperature(value / per_degree(value))]
    return per_degree(statistics.median(known)) if known else None


def temperatures(raw: Sequence[float | None], time_s: Sequence[float], unit: int | None = None) -> Cleaned:
    """A thermal zone's readings in degrees Celsius, taken at `time_s`. An absent sensor reads 0.

    Without `unit`, how many of the zone's units are a degree follows from the readings. Nothing is plausible of a zone
    that is no temperature: most of its readings are beyond PLAUSIBLE_CELSIUS.
    """
    unit = unit or zone_unit(raw)
    nothing = Cleaned([None] * len(raw))
    if unit is None:
        return nothing
    cleaned = _cleaned([value or None for value in raw], unit, PLAUSIBLE_CELSIUS)
    known = [value for value in cleaned.values if value is not None]
    if not known or len(known) < cleaned.dropped:
        return nothing
    # A zone that is far from 0 does not read 0 between two readings: that is a sensor without an answer.
    zeros = sum(value == 0 for value in raw) if statistics.median(known) > 10 else 0
    spikes = _spikes(cleaned.values, time_s)
    values = [None if index in spikes else value for index, value in enumerate(cleaned.values)]
    return Cleaned(values, cleaned.dropped + zeros + len(spikes))


def milliamperes(raw: Sequence[int | None]) -> Cleaned:
    """A battery's currents in mA, from mA or uA."""
    return _in_unit(raw, lambda median: 1000 if median >= LEAST_MICROAMPERE else 1, PLAUSIBLE_MA)


def volts(raw: Sequence[int | None]) -> Cleaned:
    """A battery's voltages in V, from mV or uV."""
    return _in_unit(raw, lambda median: 1_000_000 if median >= LEAST_MICROVOLT else 1000, PLAUSIBLE_VOLT)


def megahertz(raw: Sequence[int | None]) -> Cleaned:
    """Frequencies of a CPU in MHz, from kHz."""
    return _in_unit(raw, lambda median: 1000, PLAUSIBLE_MHZ)


def percents(raw: Sequence[int | None]) -> Cleaned:
    """A battery's levels."""
    return _cleaned(raw, 1, PLAUSIBLE_PERCENT)


def tenths_of_degrees(raw: Sequence[int | None]) -> Cleaned:
    """A battery's temperatures in degrees Celsius."""
    return _cleaned(raw, 10, PLAUSIBLE_CELSIUS)


def stuck(readings: Mapping[str, Sequence[float]], least: float = PLAUSIBLE_CELSIUS[0]) -> dict[str, float]:
    """The sensors that are stuck far above all others, each with the value at which it is.

    `readings` has those of each sensor, in degrees Celsius. A stuck sensor is at `least` or above and has the same
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


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]


def _in_unit(raw: Sequence[int | None], unit: Callable[[float], int], ends: tuple[float, float]) -> Cleaned:
    """The unit follows from the median of the readings that say something: one odd reading moves it nowhere."""
    known = [abs(value) for value in raw if value and value not in ERROR_VALUES]
    return _cleaned(raw, unit(statistics.median(known) if known else 0), ends)


def _cleaned(raw: Sequence[float | None], per: int, ends: tuple[float, float]) -> Cleaned:
    values = [
        None if value is None or value in ERROR_VALUES or not _within(value / per, ends) else value / per
        for value in raw
    ]
    there = sum(value is not None for value in raw)
    left = sum(value is not None for value in values)
    return Cleaned(values, there - left if left else 0)


def _spikes(values: Series, time_s: Sequence[float]) -> set[int]:
    """Readings that alone jump away from those around them, which agree with each other."""
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
