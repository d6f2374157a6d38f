"""The series of a cell: the runner's samples by sensor, in the units of their names."""

from __future__ import annotations

from collections.abc import Iterable

from smoothdroid.device.common.record import Record
from smoothdroid.device.info.battery import BatterySeries
from smoothdroid.device.info.cpu import megahertz
from smoothdroid.device.info.cpu_list import CpuLists, cpu_names
from smoothdroid.device.info.readings import Series, number
from smoothdroid.device.telemetry.moments import moments
from smoothdroid.device.telemetry.runner_file import RunnerFile
from smoothdroid.device.telemetry.samples import TICKS_PER_S, Observation
from smoothdroid.device.telemetry.zones import trip_points, zones


class Samples(Record):
    """The samples of a cell, by sensor and by moment."""

    time_s: list[float]
    """Time since the first sample."""
    celsius: dict[str, Series]
    """Thermal zone -> degrees; zones that are not temperatures, and stuck sensors, are left out."""
    mhz: dict[str, Series]
    """CPUs that share a clock, `4 5 6 7` -> their frequency."""
    cap_mhz: dict[str, Series]
    """CPUs that share a clock -> the highest frequency that they were allowed."""
    governor: dict[str, list[str | None]]
    online: list[str | None]
    """The CPUs that were switched on, `0-8`."""
    battery: BatterySeries
    available_mb: Series
    rss_peak_mb: float | None
    pss_peak_mb: float | None
    swap_peak_mb: float | None
    allowed_cpus: list[list[int]]
    """Every set of CPUs that some thread of the command was seen allowed to run on."""
    missing: list[str]
    """The kinds of values that this phone does not show: `zone`, `frequency`, `battery`, ..."""
    observation: Observation
    """The same samples moment by moment: the form that a verdict is built on."""

    def held(self, cpus: Iterable[int]) -> bool | None:
        """Return whether every thread was always allowed on exactly these CPUs; None when no mask was read."""
        return all(allowed == sorted(cpus) for allowed in self.allowed_cpus) if self.allowed_cpus else None


def parse(text: str) -> Samples:
    """Parse the runner's file, in the format that device/job/runner/sample.sh describes.

    A line that was cut, or that a driver's odd value broke, is left out, and so are implausible readings, which are
    counted. Raises ValueError when there is no header, or more than a phone can have sampled.
    """
    file = RunnerFile.parse(text)
    dropped: dict[str, int] = {}
    time_s = [(tick - file.ticks[0]) / TICKS_PER_S for tick in file.ticks]
    celsius, stuck = zones(file, time_s, dropped)
    mhz = _megahertz(file, "frequency", "frequency", dropped)
    cap_mhz = _megahertz(file, "cap", "highest frequency", dropped)
    battery = BatterySeries.parse(file.battery(), dropped)
    online = _words(file.first("online"))
    available_mb = [None if kb is None else kb / 1024 for kb in map(number, file.first("available"))]
    faults = [number(value) for value in file.first("faults")]
    samples = moments(time_s, celsius, mhz, cap_mhz, online, battery, available_mb, faults, file.answers)
    return Samples(
        time_s=time_s,
        celsius=celsius,
        mhz=mhz,
        cap_mhz=cap_mhz,
        governor={name[-1]: _words(values) for name, values in file.of_kind("governor")},
        online=online,
        battery=battery,
        available_mb=available_mb,
        rss_peak_mb=file.peak_mb("VmHWM"),
        pss_peak_mb=file.peak_mb("Pss"),
        swap_peak_mb=file.peak_mb("VmSwap"),
        allowed_cpus=_allowed(file.lines),
        missing=[line.split("\t")[1] for line in file.lines if line.startswith("missing\t")],
        observation=Observation(
            max_mhz=_max_mhz(file),
            trip_celsius=trip_points(file),
            dropped=dropped,
            stuck=stuck,
            samples=list(samples),
        ),
    )


def _megahertz(file: RunnerFile, kind: str, sensor: str, dropped: dict[str, int]) -> dict[str, Series]:
    return {
        name[-1]: megahertz([number(value) for value in values]).counted(f"{sensor} of CPU {name[-1]}", dropped)
        for name, values in file.of_kind(kind)
    }


def _max_mhz(file: RunnerFile) -> dict[int, int]:
    """Return the frequency that each CPU was built for."""
    tops: dict[int, int] = {}
    for name, khz in file.constants("top"):
        (mhz,) = megahertz([khz]).values
        if mhz is not None:
            tops |= dict.fromkeys(cpu_names(name), int(mhz))
    return tops


def _allowed(lines: Iterable[str]) -> list[list[int]]:
    lists = CpuLists()
    texts = {line.rpartition(":")[2].strip() for line in lines if ":Cpus_allowed_list:" in line}
    return sorted(cpus for text in texts if (cpus := lists.parse(text)) is not None)


def _words(values: Iterable[str]) -> list[str | None]:
    return [None if value == "-" else value for value in values]
