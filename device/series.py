"""What the phone did while a cell ran: the runner's samples -> typed series. Units are converted here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from device.journal import TICKS_PER_S
from device.phone import NO_TEMPERATURE, PLAUSIBLE_CELSIUS, per_degree
from device.phone import Battery as Now
from device.samples import Observation, Sample

Series = list[float | None]
"""A value for each sample; None where it could not be read."""

# Nothing that runs a benchmark draws less than 16 mA, so a series that stays below is no uA. Some drivers of Samsung
# and others report mA where the kernel's ABI wants uA (the border is that of github.com/VR-25/acc).
LEAST_MICROAMPERE = 16_000
LEAST_MICROVOLT = 100_000  # below, it is mV
BATTERY_STATUS = {"2": "Charging", "3": "Discharging", "4": "Not charging", "5": "Full"}  # Android's BatteryManager
NO_TEMPERATURE_TYPES = (6, 7, 8)  # Android's TemperatureType: voltage, current and percentage of the battery's limits
UNKNOWN_CURRENT = -(2**31)  # some MediaTek phones


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
    """Thermal zone -> degrees; zones that are no temperatures are left out."""
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
    """The runner's file (device/runner/sample.sh says what is in it) -> series.

    A line that was cut, or that a driver's odd value tore, is left out. Raises ValueError when there is no header.
    """
    lines = text.split("\n")[:-1]
    columns = [tuple(line.split("\t")[1:]) for line in lines if line.startswith("column\t")]
    if ("time",) not in columns:
        raise ValueError("the samples have no header")
    rows, told = _rows(lines, len(columns))
    read = list(zip(columns, zip(*rows, strict=True) if rows else [()] * len(columns), strict=True))
    ticks = [int(row[0]) for row in rows]
    peak = {name: _kilobytes(lines, name) for name in ("VmHWM", "Pss", "VmSwap")}
    found = Samples(
        time_s=[(tick - ticks[0]) / TICKS_PER_S for tick in ticks],
        celsius=dict(_zones(read)) or _told_zones(told),
        mhz={name[-1]: _scaled(values, 1000) for name, values in _of_kind(read, "frequency")},
        cap_mhz={name[-1]: _scaled(values, 1000) for name, values in _of_kind(read, "cap")},
        governor={name[-1]: _words(values) for name, values in _of_kind(read, "governor")},
        online=next((_words(values) for _, values in _of_kind(read, "online")), []),
        battery=_battery({name[-1]: values for name, values in _of_kind(read, "battery")} or _told_battery(told)),
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
        max_mhz=_tops(lines), trip_celsius=_trips(lines), samples=list(_moments(found, told, faults))
    )
    return found.model_copy(update={"observation": observation})


def _moments(series: Samples, told: Sequence[dict[str, list[str]]], faults: Sequence[int | None]) -> Iterator[Sample]:
    for number, at_s in enumerate(series.time_s):
        beside = "\n".join(told[number][""])
        swapped = re.search(r":VmSwap:\s+(\d{1,12}) kB$", beside, re.M)
        masks = re.findall(r"^/proc/\d+/task/(\d{1,9})/status:Cpus_allowed_list:\s+([\d,-]+)$", beside, re.M)
        states = re.findall(r"mStatus=([0-6])\}", "\n".join(told[number].get("thermalservice", [])))
        online = _at(series.online, number)
        available = _at(series.available_mb, number)
        yield Sample(
            at_s=at_s,
            celsius={zone: value for zone, values in series.celsius.items() if (value := values[number]) is not None},
            thermal_status=max(map(int, states), default=None),
            mhz=_by_cpu(series.mhz, number),
            cap_mhz=_by_cpu(series.cap_mhz, number),
            online=parse_cpus(online) if online and re.fullmatch(CPU_LIST, online) else None,
            thread_cpus={int(thread): parse_cpus(cpus) for thread, cpus in masks if re.fullmatch(CPU_LIST, cpus)},
            available_mb=None if available is None or available < 0 else round(available),
            swapped_mb=int(swapped[1]) // 1024 if swapped else None,
            major_faults=faults[number] if number < len(faults) and (faults[number] or 0) >= 0 else None,
            **_battery_at(series.battery, number),
        )


def _battery_at(battery: Battery, number: int) -> dict[str, Any]:
    """For a Sample; which way a current flows is known only while nothing charges."""
    level, celsius, status = (
        _at(battery.level_percent, number),
        _at(battery.celsius, number),
        _at(battery.status, number),
    )
    current, volt = _at(battery.current_ma, number), _at(battery.volt, number)
    charging = {"Charging": True, "Full": True, "Discharging": False, "Not charging": False}.get(status or "")
    return {
        "battery": Now(level_percent=None if level is None else round(level), celsius=celsius, charging=charging),
        "battery_ma": round(-current) if current is not None and status == "Discharging" else None,
        "battery_mv": None if volt is None else round(volt * 1000),
    }


def _at(values: Sequence[T], number: int) -> T | None:
    return values[number] if number < len(values) else None


def _by_cpu(series: dict[str, Series], number: int) -> dict[int, int]:
    """Of each CPU, what those that share its clock have."""
    return {
        cpu: round(value)
        for name, values in series.items()
        if (value := values[number]) is not None and value >= 0
        for cpu in _cpu_names(name)
    }


def _cpu_names(name: str) -> list[int]:
    return [int(word) for word in name.split() if re.fullmatch(r"\d{1,4}", word)]


def _fixed(lines: Iterable[str], kind: str) -> Iterator[tuple[str, int]]:
    for line in lines:
        if match := re.fullmatch(rf"{kind}\t([^\t]+)\t(-?\d{{1,12}})", line):
            yield match[1], int(match[2])


def _tops(lines: Iterable[str]) -> dict[int, int]:
    return {cpu: khz // 1000 for name, khz in _fixed(lines, "top") if khz >= 1000 for cpu in _cpu_names(name)}


def _trips(lines: Iterable[str]) -> dict[str, float]:
    """The lowest of each zone's."""
    trips: dict[str, float] = {}
    for zone, value in _fixed(lines, "trip"):
        celsius = value / per_degree(value)
        if 0 < celsius <= PLAUSIBLE_CELSIUS[1]:
            trips[zone] = min(celsius, trips.get(zone, celsius))
    return trips


def parse_cpus(text: str) -> list[int]:
    """The kernel's lists of CPUs, `0-3,8`, as numbers. Raises ValueError when it is none."""
    cpus: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", item)
        if not match:
            raise ValueError(f"no list of CPUs: {text[:100]!r}")
        cpus += range(int(match[1]), int(match[2] or match[1]) + 1)
    return cpus


T = TypeVar("T")
CPU_LIST = r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*"

_Column = tuple[tuple[str, ...], Sequence[str]]


def _rows(lines: Iterable[str], width: int) -> tuple[list[list[str]], list[dict[str, list[str]]]]:
    """The samples, and what the services told after each: service -> its lines, empty for most."""
    rows: list[list[str]] = []
    told: list[dict[str, list[str]]] = []
    said: list[str] | None = None
    for line in lines:
        kind, _, rest = line.partition("\t")
        if kind == "sample":
            row, said = rest.split("\t"), None
            if len(row) == width and row[0].isdecimal():
                rows.append(row)
                told.append({"": []})
                said = told[-1][""]
        elif kind == "service":
            said = told[-1].setdefault(rest, []) if told else None
        elif said is not None:
            said.append(line)
    return rows, told


def _told_zones(told: Sequence[dict[str, list[str]]]) -> dict[str, Series]:
    """What thermalservice says now; what it cached can be minutes old."""
    zones: dict[str, Series] = {}
    for number, services in enumerate(told):
        _, _, now = "\n".join(services.get("thermalservice", [])).partition("Current temperatures from HAL:")
        for value, kind, name in re.findall(r"\{mValue=(-?\d{1,6}(?:\.\d+)?), mType=(-?\d+), mName=([^,}\n]+),", now):
            low, high = PLAUSIBLE_CELSIUS
            known = float(value) != 0 and low <= float(value) <= high
            if known and int(kind) not in NO_TEMPERATURE_TYPES and not NO_TEMPERATURE.fullmatch(name):
                zones.setdefault(name, [None] * len(told))[number] = float(value)
    return zones


def _told_battery(told: Sequence[dict[str, list[str]]]) -> dict[str, Sequence[str]]:
    """What `dumpsys battery` says, under the names and in the units of sysfs."""
    names = {"level": "capacity", "status": "status", "temperature": "temp", "voltage": "voltage_now"}
    names |= {"current now": "current_now", "Battery current": "current_now"}
    values: dict[str, list[str]] = {}
    for number, services in enumerate(told):
        for line in services.get("battery", []):
            match = re.fullmatch(r" *([\w ]+?) *: *(-?\d{1,10})\s*", line)
            if match and match[1] in names:
                value = BATTERY_STATUS.get(match[2], "-") if match[1] == "status" else match[2]
                values.setdefault(names[match[1]], ["-"] * len(told))[number] = value
    return dict(values)


def _of_kind(columns: Iterable[_Column], kind: str) -> Iterator[_Column]:
    return ((name, values) for name, values in columns if name[0] == kind)


def _zones(columns: Iterable[_Column]) -> Iterator[tuple[str, Series]]:
    """Zones of one type get their number in the name."""
    named: set[str] = set()
    for name, values in _of_kind(columns, "zone"):
        numbers = _numbers(values)
        known = [number for number in numbers if number]  # an absent sensor reads 0
        if len(name) < 3 or NO_TEMPERATURE.fullmatch(name[2]) or not known:
            continue
        unit = per_degree(max(known, key=abs))
        series = [number / unit if number else None for number in numbers]
        low, high = PLAUSIBLE_CELSIUS
        if all(low <= value <= high for value in series if value is not None):
            zone = name[2] if name[2] not in named else f"{name[2]} ({name[1]})"
            named.add(zone)
            yield zone, series


def _battery(values: dict[str, Sequence[str]]) -> Battery:
    status = _words(values.get("status", ()))
    current = [None if value == UNKNOWN_CURRENT else value for value in _numbers(values.get("current_now", ()))]
    largest = max((abs(value) for value in current if value is not None), default=0)
    milli = [None if value is None else value / (1000 if largest >= LEAST_MICROAMPERE else 1) for value in current]
    if len(status) == len(milli):
        # Vendors do not agree on the sign; where the battery alone feeds the phone, there is only one.
        draws = [word == "Discharging" for word in status]
        milli = [
            -abs(value) if drawn and value is not None else value for drawn, value in zip(draws, milli, strict=True)
        ]
    voltage = _numbers(values.get("voltage_now", ()))
    micro = max((abs(value) for value in voltage if value is not None), default=0) >= LEAST_MICROVOLT
    return Battery(
        level_percent=_scaled(values.get("capacity", ()), 1),
        status=status,
        celsius=_scaled(values.get("temp", ()), 10),
        current_ma=milli,
        volt=_scaled(values.get("voltage_now", ()), 1_000_000 if micro else 1000),
    )


def _allowed(lines: Iterable[str]) -> list[list[int]]:
    seen = {line.rpartition(":")[2].strip() for line in lines if ":Cpus_allowed_list:" in line}
    return sorted(parse_cpus(text) for text in seen if re.fullmatch(CPU_LIST, text))


def _kilobytes(lines: Iterable[str], name: str) -> float | None:
    """The largest of these values, in MB of 2**20 bytes as the rest of the house has them."""
    found = (re.fullmatch(rf"/proc/[\w/]+:{name}:\s+(\d+) kB", line) for line in lines)
    return max((int(match[1]) / 1024 for match in found if match), default=None)


def _numbers(values: Iterable[str]) -> list[int | None]:
    return [int(value) if re.fullmatch(r"-?\d{1,15}", value) else None for value in values]


def _scaled(values: Iterable[str], divisor: int) -> Series:
    return [None if number is None else number / divisor for number in _numbers(values)]


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
