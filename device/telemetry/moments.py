"""The samples of a cell moment by moment, from its series: the form that a verdict is built on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from smoothdroid.device.info.battery import BatterySeries
from smoothdroid.device.info.cpu_list import CpuLists, cpu_names
from smoothdroid.device.info.readings import Series
from smoothdroid.device.telemetry.runner_file import Answers, from_hal
from smoothdroid.device.telemetry.samples import Sample

T = TypeVar("T")


def moments(
    time_s: Sequence[float],
    celsius: Mapping[str, Series],
    mhz: Mapping[str, Series],
    cap_mhz: Mapping[str, Series],
    online: Sequence[str | None],
    battery: BatterySeries,
    available_mb: Series,
    major_faults: Sequence[int | None],
    answers: Sequence[Answers],
) -> Iterator[Sample]:
    """Yield one sample for each time; `answers` has the lines that were read after each."""
    lists = CpuLists()
    running, caps = _by_cpus(mhz), _by_cpus(cap_mhz)
    zones = _by_moment(celsius, len(time_s))
    for index, at_s in enumerate(time_s):
        of_command = "\n".join(answers[index][""])
        swapped = re.search(r":VmSwap:[ \t]+([0-9]{1,12}) kB$", of_command, re.M)
        states = re.findall(r"mStatus=([0-6])\}", from_hal(answers[index]))
        available, faults = _at(available_mb, index), _at(major_faults, index)
        yield Sample(
            at_s=at_s,
            celsius=zones[index],
            thermal_status=max(map(int, states), default=None),
            mhz=_by_cpu(running, index),
            cap_mhz=_by_cpu(caps, index),
            online=lists.parse(cpus) if (cpus := _at(online, index)) else None,
            thread_cpus=_thread_cpus(of_command, lists),
            available_mb=None if available is None or available < 0 else round(available),
            swapped_mb=int(swapped[1]) // 1024 if swapped else None,
            major_faults=faults if (faults or 0) >= 0 else None,
            battery=battery.at(index),
            battery_ma=battery.drawn_ma(index),
            battery_mv=battery.millivolts(index),
        )


def _thread_cpus(status: str, lists: CpuLists) -> dict[int, list[int]]:
    """Return the CPUs that each thread may run on, from its Cpus_allowed_list."""
    masks = re.findall(r"^/proc/[0-9]+/task/([0-9]{1,9})/status:Cpus_allowed_list:[ \t]+([0-9,-]+)$", status, re.M)
    return {int(thread): cpus for thread, text in masks if (cpus := lists.parse(text)) is not None}


def _by_moment(series: Mapping[str, Series], count: int) -> list[dict[str, float]]:
    """Return the known values of each moment, by sensor."""
    rows: list[dict[str, float]] = [{} for _ in range(count)]
    for name, values in series.items():
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row[name] = value
    return rows


def _at(values: Sequence[T], index: int) -> T | None:
    return values[index] if index < len(values) else None


def _by_cpus(series: Mapping[str, Series]) -> list[tuple[list[int], Series]]:
    return [(cpu_names(name), values) for name, values in series.items()]


def _by_cpu(series: Iterable[tuple[list[int], Series]], index: int) -> dict[int, int]:
    """Return each CPU's value; CPUs that share a clock have the same one."""
    return {cpu: round(value) for cpus, values in series if (value := values[index]) is not None for cpu in cpus}
