"""What the phone did while a cell ran: the runner's samples -> typed series. Units are converted here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from smoothdroid.device.info import readings
from smoothdroid.device.info.phone import MOST_CPUS
from smoothdroid.device.info.phone import Battery as Now
from smoothdroid.device.info.readings import NO_TEMPERATURE, Cleaned, Series, number
from smoothdroid.device.telemetry.samples import TICKS_PER_S, Observation, Sample

BATTERY_STATUS = {"2": "Charging", "3": "Discharging", "4": "Not charging", "5": "Full"}  # Android's BatteryManager
NO_TEMPERATURE_TYPES = (6, 7, 8)  # Android's TemperatureType: voltage, current and percentage of the battery's limits
MOST_VALUES = 30_000_000  # a phone with 250 sensors gives so many in a day
MOST_LISTED = 10_000  # CPUs in a list
LONGEST_WORD = 4096  # a list of CPUs; what a service says of one sensor

CPU_LIST = r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*"

T = TypeVar("T")

_Column = tuple[tuple[str, ...], Sequence[str]]
_Services = dict[str, list[str]]
"""What was read after a sample: service -> its lines; under "" what /proc says of the command."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Battery(_Record):
    """The battery's series; empty where the phone shows none."""

    level_percent: Series = Field(default_factory=list)
    status: list[str | None] = Field(default_factory=list)
    """As the kernel says it: `Charging`, `Discharging`, `Not charging`, `Full`."""
    celsius: Series = Field(default_factory=list)
    current_ma: Series = Field(default_factory=list)
    """Negative while discharging; else with whatever sign this vendor gives it."""
    volt: Series = Field(default_factory=list)


class Samples(_Record):
    """All that was sampled, by time."""

    time_s: list[float]
    """Since the first sample."""
    celsius: dict[str, Series]
    """Thermal zone -> degrees; zones that are no temperatures, and sensors that are stuck, are left out."""
    mhz: dict[str, Series]
    """CPUs that share a clock, `4 5 6 7` -> their frequency."""
    cap_mhz: dict[str, Series]
    """The highest frequency that they were allowed."""
    governor: dict[str, list[str | None]]
    online: list[str | None]
    """The CPUs that were switched on, `0-8`."""
    battery: Battery
    available_mb: Series
    rss_peak_mb: float | None
    pss_peak_mb: float | None
    swap_peak_mb: float | None
    allowed_cpus: list[list[int]]
    """Every set of CPUs that some thread of the command was seen allowed to run on."""
    missing: list[str]
    """The kinds of values that this phone does not show: `zone`, `frequency`, `battery`, ..."""
    observation: Observation
    """The same, moment by moment: what a verdict is built on."""

    def held(self, cpus: Iterable[int]) -> bool | None:
        """Whether every thread was always allowed on exactly these CPUs; None when that was not seen."""
        return all(allowed == sorted(cpus) for allowed in self.allowed_cpus) if self.allowed_cpus else None

    def conditions(self) -> Conditions:
        """These samples in short."""
        return Conditions.of(self)


class Range(_Record):
    """A series in short."""

    first: float
    last: float
    lowest: float
    highest: float
    mean: float

    @classmethod
    def of(cls, series: Series) -> Range | None:
        """None when there is no value in the series."""
        values = [value for value in series if value is not None]
        if not values:
            return None
        mean = round(sum(values) / len(values), 3)
        return cls(first=values[0], last=values[-1], lowest=min(values), highest=max(values), mean=mean)


class Conditions(_Record):
    """What the phone was like while a cell ran."""

    seconds: float
    """Between the first and the last sample."""
    samples: int
    celsius: dict[str, Range]
    mhz: dict[str, Range]
    cap_mhz: dict[str, Range]
    governor: dict[str, list[str]]
    """CPUs -> the governors they had, one after the other."""
    online: list[str]
    level_percent: Range | None
    battery_status: list[str]
    battery_celsius: Range | None
    current_ma: Range | None
    volt: Range | None
    available_mb: Range | None
    rss_peak_mb: float | None
    pss_peak_mb: float | None
    swap_peak_mb: float | None
    allowed_cpus: list[list[int]]
    missing: list[str]

    @classmethod
    def of(cls, samples: Samples) -> Conditions:
        """The samples in short."""
        battery = samples.battery
        return cls(
            seconds=samples.time_s[-1] if samples.time_s else 0.0,
            samples=len(samples.time_s),
            celsius=_ranges(samples.celsius),
            mhz=_ranges(samples.mhz),
            cap_mhz=_ranges(samples.cap_mhz),
            governor={cpus: _changes(series) for cpus, series in samples.governor.items()},
            online=_changes(samples.online),
            level_percent=Range.of(battery.level_percent),
            battery_status=_changes(battery.status),
            battery_celsius=Range.of(battery.celsius),
            current_ma=Range.of(battery.current_ma),
            volt=Range.of(battery.volt),
            available_mb=Range.of(samples.available_mb),
            rss_peak_mb=samples.rss_peak_mb,
            pss_peak_mb=samples.pss_peak_mb,
            swap_peak_mb=samples.swap_peak_mb,
            allowed_cpus=samples.allowed_cpus,
            missing=samples.missing,
        )


def parse(text: str) -> Samples:
    """The runner's file (device/job/runner/sample.sh says what is in it) -> series.

    A line that was cut, or that a driver's odd value tore, is left out, and so are implausible readings, which are
    counted. Raises ValueError when there is no header, or more than a phone can have sampled.
    """
    lines = text.split("\n")[:-1]
    columns = [tuple(line.split("\t")[1:]) for line in lines if line.startswith("column\t")]
    if ("time",) not in columns:
        raise ValueError("the samples have no header")
    rows, said = _rows(lines, len(columns))
    _refuse_too_much(columns, len(rows))
    read = list(zip(columns, zip(*rows, strict=True) if rows else [()] * len(columns), strict=True))
    ticks = [int(row[0]) for row in rows]
    time_s = [(tick - ticks[0]) / TICKS_PER_S for tick in ticks]
    peak = {name: _kilobytes(lines, name) for name in ("VmHWM", "Pss", "VmSwap")}
    battery = {name[-1]: values for name, values in _of_kind(read, "battery")} or _said_battery(said)
    dropped: dict[str, int] = {}
    celsius, labels = _zones(read, said, time_s, dropped)
    still = readings.stuck({zone: _known(values) for zone, values in celsius.items()}, readings.SHUTDOWN_CELSIUS)
    found = Samples(
        time_s=time_s,
        celsius={zone: values for zone, values in celsius.items() if zone not in still},
        mhz=_megahertz(read, "frequency", dropped),
        cap_mhz=_megahertz(read, "cap", dropped),
        governor={name[-1]: _words(values) for name, values in _of_kind(read, "governor")},
        online=next((_words(values) for _, values in _of_kind(read, "online")), []),
        battery=_battery(battery, dropped),
        available_mb=next((_scaled(values, 1024) for _, values in _of_kind(read, "available")), []),
        rss_peak_mb=peak["VmHWM"],
        pss_peak_mb=peak["Pss"],
        swap_peak_mb=peak["VmSwap"],
        allowed_cpus=_allowed(lines),
        missing=[line.split("\t")[1] for line in lines if line.startswith("missing\t")],
        observation=Observation(),
    )
    faults = next((_numbers(values) for _, values in _of_kind(read, "faults")), [])
    observation = Observation(
        max_mhz=_tops(lines),
        trip_celsius=_trips(lines),
        dropped=dropped,
        stuck={labels[zone]: value for zone, value in still.items()},
        samples=list(_moments(found, said, faults)),
    )
    return found.model_copy(update={"observation": observation})


def _refuse_too_much(columns: Sequence[tuple[str, ...]], rows: int) -> None:
    wide = len(columns) + sum(len(_cpu_names(name[-1])) for name in columns)
    if rows * wide > MOST_VALUES:
        raise ValueError(f"{rows} samples of {wide} values are more than a phone takes")


def _moments(series: Samples, said: Sequence[_Services], faults: Sequence[int | None]) -> Iterator[Sample]:
    lists = _CpuLists()
    mhz, caps = _by_cpus(series.mhz), _by_cpus(series.cap_mhz)
    zones = _by_moment(series.celsius, len(series.time_s))
    for index, at_s in enumerate(series.time_s):
        beside = "\n".join(said[index][""])
        swapped = re.search(r":VmSwap:[ \t]+([0-9]{1,12}) kB$", beside, re.M)
        masks = re.findall(r"^/proc/[0-9]+/task/([0-9]{1,9})/status:Cpus_allowed_list:[ \t]+([0-9,-]+)$", beside, re.M)
        states = re.findall(r"mStatus=([0-6])\}", _from_hal(said[index]))
        threads = {int(thread): cpus for thread, text in masks if (cpus := lists.of(text)) is not None}
        available = _at(series.available_mb, index)
        yield Sample(
            at_s=at_s,
            celsius=zones[index],
            thermal_status=max(map(int, states), default=None),
            mhz=_by_cpu(mhz, index),
            cap_mhz=_by_cpu(caps, index),
            online=lists.of(online) if (online := _at(series.online, index)) else None,
            thread_cpus=threads,
            available_mb=None if available is None or available < 0 else round(available),
            swapped_mb=int(swapped[1]) // 1024 if swapped else None,
            major_faults=faults[index] if index < len(faults) and (faults[index] or 0) >= 0 else None,
            **_battery_at(series.battery, index),
        )


def _by_moment(series: Mapping[str, Series], count: int) -> list[dict[str, float]]:
    """The values of each moment, by sensor."""
    moments: list[dict[str, float]] = [{} for _ in range(count)]
    for name, values in series.items():
        for moment, value in zip(moments, values, strict=True):
            if value is not None:
                moment[name] = value
    return moments


def _battery_at(battery: Battery, index: int) -> dict[str, Any]:
    """For a Sample; which way a current flows is known only while nothing charges."""
    level, celsius, status = (
        _at(battery.level_percent, index),
        _at(battery.celsius, index),
        _at(battery.status, index),
    )
    current, volt = _at(battery.current_ma, index), _at(battery.volt, index)
    charging = {"Charging": True, "Full": True, "Discharging": False, "Not charging": False}.get(status or "")
    return {
        "battery": Now(level_percent=None if level is None else round(level), celsius=celsius, charging=charging),
        "battery_ma": round(-current) if current is not None and status == "Discharging" else None,
        "battery_mv": None if volt is None else round(volt * 1000),
    }


def _at(values: Sequence[T], index: int) -> T | None:
    return values[index] if index < len(values) else None


def _by_cpus(series: Mapping[str, Series]) -> list[tuple[list[int], Series]]:
    return [(_cpu_names(name), values) for name, values in series.items()]


def _by_cpu(series: Iterable[tuple[list[int], Series]], index: int) -> dict[int, int]:
    """Each CPU's value, which those that share its clock have too."""
    return {cpu: round(value) for cpus, values in series if (value := values[index]) is not None for cpu in cpus}


def _cpu_names(name: str) -> list[int]:
    """The CPUs in a name such as `4 5 6 7`; none in any other."""
    words = name.split() if len(name) <= LONGEST_WORD else []
    return [int(word) for word in words if re.fullmatch("[0-9]{1,4}", word) and int(word) < MOST_CPUS]


def _fixed(lines: Iterable[str], kind: str) -> Iterator[tuple[str, int]]:
    for line in lines:
        if match := re.fullmatch(rf"{kind}\t([^\t]+)\t(-?[0-9]{{1,12}})", line):
            yield match[1], int(match[2])


def _tops(lines: Iterable[str]) -> dict[int, int]:
    tops: dict[int, int] = {}
    for name, khz in _fixed(lines, "top"):
        (mhz,) = readings.megahertz([khz]).values
        if mhz is not None:
            tops |= dict.fromkeys(_cpu_names(name), int(mhz))
    return tops


def _trips(lines: Iterable[str]) -> dict[str, float]:
    """The lowest of each zone's."""
    trips: dict[str, float] = {}
    for zone, value in _fixed(lines, "trip"):
        celsius = value / readings.per_degree(value)
        if 0 < celsius <= readings.PLAUSIBLE_CELSIUS[1]:
            trips[zone] = min(celsius, trips.get(zone, celsius))
    return trips


def parse_cpus(text: str) -> list[int]:
    """The kernel's lists of CPUs, `0-3,8`, as numbers. Raises ValueError for anything else, and for endless lists."""
    cpus: list[int] = []
    if len(text) <= LONGEST_WORD and re.fullmatch(CPU_LIST, text):
        for item in text.split(","):
            first, _, last = item.partition("-")
            members = range(int(first), int(last or first) + 1)
            if not members or len(cpus) + len(members) > MOST_LISTED:
                break
            cpus += members
        else:
            return cpus
    raise ValueError(f"no list of CPUs: {text[:100]!r}")


class _CpuLists:
    """Lists of a phone's CPUs, each parsed once."""

    def __init__(self) -> None:
        self._known: dict[str, list[int] | None] = {}

    def of(self, text: str) -> list[int] | None:
        """The CPUs of a list; None where the text is none."""
        if text not in self._known:
            try:
                cpus = parse_cpus(text)
                self._known[text] = cpus if max(cpus) < MOST_CPUS else None
            except ValueError:
                self._known[text] = None
        return self._known[text]


def _rows(lines: Iterable[str], width: int) -> tuple[list[list[str]], list[_Services]]:
    """The samples, and what was read after each."""
    rows: list[list[str]] = []
    after: list[_Services] = []
    said: list[str] | None = None
    for line in lines:
        kind, _, rest = line.partition("\t")
        if kind == "sample":
            row, said = rest.split("\t"), None
            if len(row) == width and re.fullmatch("[0-9]{1,15}", row[0]):
                rows.append(row)
                after.append({"": []})
                said = after[-1][""]
        elif kind == "service":
            said = after[-1].setdefault(rest, []) if after else None
        elif said is not None and len(line) <= LONGEST_WORD:
            said.append(line)
    return rows, after


def _from_hal(services: _Services) -> str:
    """The lines of thermalservice about now. Those that it cached can be minutes old, and so can its own status."""
    _, _, now = "\n".join(services.get("thermalservice", [])).partition("Current temperatures from HAL:")
    return now.partition("\nCurrent ")[0]


def _hal_readings(said: Sequence[_Services]) -> dict[str, dict[int, float]]:
    """Sensor -> number of the sample -> what Android's service says of it."""
    found: dict[str, dict[int, float]] = {}
    pattern = r"\{mValue=(-?[0-9]{1,10}(?:\.[0-9]{1,20})?), mType=(-?[0-9]{1,4}), mName=([^,}\n]{1,100}),"
    for index, services in enumerate(said):
        for value, kind, name in re.findall(pattern, _from_hal(services)):
            if int(kind) not in NO_TEMPERATURE_TYPES and not NO_TEMPERATURE.fullmatch(name):
                found.setdefault(name, {})[index] = float(value)
    return found


def _said_battery(said: Sequence[_Services]) -> dict[str, Sequence[str]]:
    """The answers of `dumpsys battery`, under the names and in the units of sysfs."""
    names = {"level": "capacity", "status": "status", "temperature": "temp", "voltage": "voltage_now"}
    names |= {"current now": "current_now", "Battery current": "current_now"}
    values: dict[str, list[str]] = {}
    for index, services in enumerate(said):
        for line in services.get("battery", []):
            key, _, value = (part.strip() for part in line.partition(":"))
            if key in names and re.fullmatch("-?[0-9]{1,10}", value):
                word = BATTERY_STATUS.get(value, "-") if key == "status" else value
                values.setdefault(names[key], ["-"] * len(said))[index] = word
    return dict(values)


def _of_kind(columns: Iterable[_Column], kind: str) -> Iterator[_Column]:
    return ((name, values) for name, values in columns if name[0] == kind)


def _zones(
    columns: Iterable[_Column], said: Sequence[_Services], time_s: Sequence[float], dropped: dict[str, int]
) -> tuple[dict[str, Series], dict[str, str]]:
    """Each zone's temperatures, and what a message calls it: `thermal_zone3 (cpu-0)`.

    Where sysfs shows none, the sensors of Android's service. Zones of one type get their number in the name.
    """
    found: dict[str, Series] = {}
    labels: dict[str, str] = {}
    for name, values in _of_kind(columns, "zone"):
        if len(name) < 3 or NO_TEMPERATURE.fullmatch(name[2]):
            continue
        label = f"{name[1]} ({name[2]})"
        cleaned = readings.temperatures(_numbers(values), time_s)
        if _known(cleaned.values):
            zone = name[2] if name[2] not in found else f"{name[2]} ({name[1]})"
            found[zone], labels[zone] = _counted(cleaned, label, dropped), label
    if found:
        return found, labels
    sensors = _hal_readings(said)
    _refuse_too_much([("zone",)] * len(sensors), len(time_s))
    for zone, at in sensors.items():
        cleaned = readings.temperatures(list(at.values()), [time_s[index] for index in at], unit=1)
        if _known(cleaned.values):
            kept = dict(zip(at, _counted(cleaned, zone, dropped), strict=True))
            found[zone], labels[zone] = [kept.get(index) for index in range(len(time_s))], zone
    return found, labels


def _megahertz(columns: Iterable[_Column], kind: str, dropped: dict[str, int]) -> dict[str, Series]:
    what = {"frequency": "frequency", "cap": "highest frequency"}[kind]
    return {
        name[-1]: _counted(readings.megahertz(_numbers(values)), f"{what} of CPU {name[-1]}", dropped)
        for name, values in _of_kind(columns, kind)
    }


def _battery(values: Mapping[str, Sequence[str]], dropped: dict[str, int]) -> Battery:
    def series(file: str, clean: Any, sensor: str) -> Series:  # noqa: ANN401
        return _counted(clean(_numbers(values.get(file, ()))), sensor, dropped)

    status = _words(values.get("status", ()))
    milli = series("current_now", readings.milliamperes, "battery current")
    if len(status) == len(milli):
        # Vendors do not agree on the sign; where the battery alone feeds the phone, there is only one.
        draws = [word == "Discharging" for word in status]
        milli = [
            -abs(value) if drawn and value is not None else value for drawn, value in zip(draws, milli, strict=True)
        ]
    return Battery(
        level_percent=series("capacity", readings.percents, "battery level"),
        status=status,
        celsius=series("temp", readings.tenths_of_degrees, "battery temperature"),
        current_ma=milli,
        volt=series("voltage_now", readings.volts, "battery voltage"),
    )


def _counted(cleaned: Cleaned, sensor: str, dropped: dict[str, int]) -> Series:
    if cleaned.dropped:
        dropped[sensor] = dropped.get(sensor, 0) + cleaned.dropped
    return cleaned.values


def _known(values: Series) -> list[float]:
    return [value for value in values if value is not None]


def _allowed(lines: Iterable[str]) -> list[list[int]]:
    lists = _CpuLists()
    seen = {line.rpartition(":")[2].strip() for line in lines if ":Cpus_allowed_list:" in line}
    return sorted(cpus for text in seen if (cpus := lists.of(text)) is not None)


def _kilobytes(lines: Iterable[str], name: str) -> float | None:
    """The largest of these values, in MB of 2**20 bytes as the rest of the house has them."""
    found = (re.fullmatch(rf"/proc/[\w/]+:{name}:[ \t]+([0-9]{{1,12}}) kB", line) for line in lines)
    return max((int(match[1]) / 1024 for match in found if match), default=None)


def _numbers(values: Iterable[str]) -> list[int | None]:
    return [number(value) for value in values]


def _scaled(values: Iterable[str], divisor: int) -> Series:
    return [None if value is None else value / divisor for value in _numbers(values)]


def _words(values: Iterable[str]) -> list[str | None]:
    return [None if value == "-" else value for value in values]


def _changes(words: Iterable[str | None]) -> list[str]:
    """The words one after the other, each as often as it came anew."""
    changes: list[str] = []
    for word in words:
        if word is not None and changes[-1:] != [word]:
            changes.append(word)
    return changes


def _ranges(series: dict[str, Series]) -> dict[str, Range]:
    found = {name: Range.of(values) for name, values in series.items()}
    return {name: found_range for name, found_range in found.items() if found_range}
