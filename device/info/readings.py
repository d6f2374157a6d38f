"""Readings of any sensor: numbers as the kernel writes them, their unit, and which of them are plausible."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Series = list[float | None]
"""A value for each sample; None where it could not be read, or was implausible."""

PLAUSIBLE_CELSIUS = (-30.0, 150.0)
"""The range of a temperature in a phone. Thermal zones also hold mV, mA, percent and "no sensor" in the same files."""

ERROR_VALUES = {65535, 32767, -32768, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63)}
"""Values that a driver writes when its sensor did not answer: registers full of ones, and the ends of an int."""


@dataclass(frozen=True)
class Cleaned:
    """A sensor's readings in one unit, without the implausible ones."""

    values: Series
    dropped: int = 0
    """The number of implausible readings; 0 for a sensor without any plausible reading, which counts as absent."""

    def counted(self, sensor: str, dropped: dict[str, int]) -> Series:
        """Return the values, and add the number of dropped readings to `dropped` under the sensor's name."""
        if self.dropped:
            dropped[sensor] = dropped.get(sensor, 0) + self.dropped
        return self.values


def number(text: str) -> int | None:
    """Return the decimal integer that a kernel wrote; None for anything else, such as digits of other scripts."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,15}", text) else None


def within(value: float, ends: tuple[float, float]) -> bool:
    """Return whether a value lies in a range, ends included."""
    return ends[0] <= value <= ends[1]


def in_unit(raw: Sequence[int | None], unit: Callable[[float], int], ends: tuple[float, float]) -> Cleaned:
    """Convert readings whose unit `unit` derives from their median magnitude, so that one odd reading cannot change it.

    `unit` returns how many raw units are one unit of the result; values outside `ends` are dropped.
    """
    known = [abs(value) for value in raw if value and value not in ERROR_VALUES]
    return clean(raw, unit(statistics.median(known) if known else 0), ends)


def clean(raw: Sequence[float | None], per: int, ends: tuple[float, float]) -> Cleaned:
    """Divide readings by `per` and drop error values and those outside `ends`."""
    values = [
        None if value is None or value in ERROR_VALUES or not within(value / per, ends) else value / per
        for value in raw
    ]
    there = sum(value is not None for value in raw)
    left = sum(value is not None for value in values)
    return Cleaned(values, there - left if left else 0)
