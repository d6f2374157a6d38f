"""The conditions of a cell: ranges of temperature, frequency, battery and memory while it ran."""

from __future__ import annotations

from collections.abc import Iterable

from smoothdroid.device.common.record import Record
from smoothdroid.device.info.readings import Series
from smoothdroid.device.telemetry.series import Samples


class Range(Record):
    """The summary of a series."""

    first: float
    last: float
    lowest: float
    highest: float
    mean: float

    @classmethod
    def of(cls, series: Series) -> Range | None:
        """Summarize a series; None when it holds no value."""
        values = [value for value in series if value is not None]
        if not values:
            return None
        mean = round(sum(values) / len(values), 3)
        return cls(first=values[0], last=values[-1], lowest=min(values), highest=max(values), mean=mean)


class Conditions(Record):
    """The state of the phone while a cell ran, summarized from its samples."""

    seconds: float
    """Time between the first and the last sample."""
    samples: int
    celsius: dict[str, Range]
    mhz: dict[str, Range]
    cap_mhz: dict[str, Range]
    governor: dict[str, list[str]]
    """CPUs that share a clock -> their governors, in order, without repetitions."""
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
        """Summarize the samples of a cell."""
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


def _changes(words: Iterable[str | None]) -> list[str]:
    """Return the known words in order, without immediate repetitions."""
    changes: list[str] = []
    for word in words:
        if word is not None and changes[-1:] != [word]:
            changes.append(word)
    return changes


def _ranges(series: dict[str, Series]) -> dict[str, Range]:
    ranges = {name: Range.of(values) for name, values in series.items()}
    return {name: summary for name, summary in ranges.items() if summary}
