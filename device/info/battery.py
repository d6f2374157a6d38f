"""The battery: its fields in sysfs and `dumpsys battery`, their units, and the sign of its current."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import Field

from smoothdroid.device.common.record import Record
from smoothdroid.device.info.readings import PLAUSIBLE_CELSIUS, Cleaned, Series, clean, in_unit, number

PLAUSIBLE_VOLT = (1.0, 30.0)  # from a worn cell to a tablet's cells in series
PLAUSIBLE_MA = (-30_000.0, 30_000.0)  # beyond what the fastest chargers push
PLAUSIBLE_PERCENT = (0.0, 100.0)

# A phone that runs a benchmark draws at least 16 mA, so a series whose median is below is not in uA. Some drivers of
# Samsung and others report mA where the kernel's ABI wants uA (the limit is that of github.com/VR-25/acc).
LEAST_MICROAMPERE = 16_000
LEAST_MICROVOLT = 100_000  # values below are mV

T = TypeVar("T")

_SYSFS_NAMES = {
    "level": "capacity",
    "status": "status",
    "temperature": "temp",
    "voltage": "voltage_now",
    "current now": "current_now",
    "Battery current": "current_now",
}
"""The sysfs file that holds the same value, for each field of `dumpsys battery`."""

_STATUS = {"2": "Charging", "3": "Discharging", "4": "Not charging", "5": "Full"}
"""The kernel's word for each status of Android's BatteryManager; 1 is unknown."""

_CHARGING = {"Charging": True, "Full": True, "Discharging": False, "Not charging": False}


class Battery(Record):
    """The battery at one moment, as far as this user may read it."""

    level_percent: int | None = None
    celsius: float | None = None
    charging: bool | None = None


class BatterySeries(Record):
    """The battery's values, one for each sample; empty lists where the phone shows none."""

    level_percent: Series = Field(default_factory=list)
    status: list[str | None] = Field(default_factory=list)
    """The kernel's word: `Charging`, `Discharging`, `Not charging`, `Full`."""
    celsius: Series = Field(default_factory=list)
    current_ma: Series = Field(default_factory=list)
    """Negative while discharging; otherwise with the sign that the vendor chose."""
    volt: Series = Field(default_factory=list)

    @classmethod
    def parse(cls, fields: Mapping[str, Sequence[str]], dropped: dict[str, int]) -> BatterySeries:
        """Convert the texts of the sysfs files (file name -> one text for each sample, `-` where it is unknown).

        `dropped` gets the number of implausible readings of each sensor.
        """

        def series(file: str, convert: Callable[[Sequence[int | None]], Cleaned], sensor: str) -> Series:
            return convert([number(text) for text in fields.get(file, ())]).counted(sensor, dropped)

        status = [None if text == "-" else text for text in fields.get("status", ())]
        return cls(
            level_percent=series("capacity", percents, "battery level"),
            status=status,
            celsius=series("temp", tenths_of_degrees, "battery temperature"),
            current_ma=_signed(series("current_now", milliamperes, "battery current"), status),
            volt=series("voltage_now", volts, "battery voltage"),
        )

    def at(self, index: int) -> Battery:
        """Return the battery at one sample."""
        level, status = _at(self.level_percent, index), _at(self.status, index)
        return Battery(
            level_percent=None if level is None else round(level),
            celsius=_at(self.celsius, index),
            charging=_CHARGING.get(status or ""),
        )

    def drawn_ma(self, index: int) -> int | None:
        """Return the current drawn at one sample in mA; None while charging, when its direction is not known."""
        current = _at(self.current_ma, index)
        return round(-current) if current is not None and _at(self.status, index) == "Discharging" else None

    def millivolts(self, index: int) -> int | None:
        """Return the voltage at one sample in mV."""
        volt = _at(self.volt, index)
        return None if volt is None else round(volt * 1000)


def parse_battery(text: str) -> Battery:
    """Parse the output of `dumpsys battery`, and lines `sysfs FILE VALUE` for a user who may not call it."""
    sysfs: dict[str, str] = dict(re.findall(r"^sysfs (\w+) (\S(?:.{0,60}\S)?)[ \t\r]*$", text, flags=re.MULTILINE))
    # "UPDATES STOPPED": somebody set the values by hand, with `dumpsys battery set`.
    fields = sysfs | ({} if "UPDATES STOPPED" in text else dumpsys_fields(text.split("\n")))
    battery = BatterySeries.parse({file: [value] for file, value in fields.items()}, {}).at(0)
    # A description has always reported an unknown status as not charging; in samples it is unknown.
    return battery.model_copy(update={"charging": bool(battery.charging)}) if "status" in fields else battery


def dumpsys_fields(lines: Iterable[str]) -> dict[str, str]:
    """Return the fields of one `dumpsys battery`, under the names and in the words of sysfs."""
    fields: dict[str, str] = {}
    for line in lines:
        # The whole key counts: Android 15 has "Capacity level:", vendors have "Charger voltage :".
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in _SYSFS_NAMES and re.fullmatch("-?[0-9]{1,10}", value):
            fields[_SYSFS_NAMES[key]] = _STATUS.get(value, "-") if key == "status" else value
    return fields


def milliamperes(raw: Sequence[int | None]) -> Cleaned:
    """Convert a battery's currents from mA or uA to mA."""
    return in_unit(raw, lambda median: 1000 if median >= LEAST_MICROAMPERE else 1, PLAUSIBLE_MA)


def volts(raw: Sequence[int | None]) -> Cleaned:
    """Convert a battery's voltages from mV or uV to V."""
    return in_unit(raw, lambda median: 1_000_000 if median >= LEAST_MICROVOLT else 1000, PLAUSIBLE_VOLT)


def percents(raw: Sequence[int | None]) -> Cleaned:
    """Drop the implausible levels of a battery, in percent."""
    return clean(raw, 1, PLAUSIBLE_PERCENT)


def tenths_of_degrees(raw: Sequence[int | None]) -> Cleaned:
    """Convert a battery's temperatures from tenths of degrees to degrees Celsius."""
    return clean(raw, 10, PLAUSIBLE_CELSIUS)


def _signed(milli: Series, status: Sequence[str | None]) -> Series:
    # Vendors do not agree on the sign; while the battery alone feeds the phone, only one direction is possible.
    if len(status) != len(milli):
        return milli
    return [
        -abs(value) if word == "Discharging" and value is not None else value
        for word, value in zip(status, milli, strict=True)
    ]


def _at(values: Sequence[T], index: int) -> T | None:
    return values[index] if index < len(values) else None
