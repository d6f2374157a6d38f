"""The checks that decide if a measured cell is valid.

Each check looks for one thing that makes a number mean something else than it seems to, and returns what it found and
what to do about it. A check without data finds nothing, which `unread` reports: a valid cell is one in which no check
found anything in the data that this phone exposes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smoothdroid.device.info import socs
from smoothdroid.device.telemetry.samples import Observation
from smoothdroid.host.results.cpu_masks import listed
from smoothdroid.host.results.finding import Finding, Measured
from smoothdroid.host.results.statistics import CONFIDENCE, Change, drift, interval, step
from smoothdroid.host.results.throttling_checks import capped, slowed, tripped, unplugged

WIDEST_SHARE = 0.05
"""Half the interval over the mean. Beyond it, a regression of 5 % cannot be seen."""

LARGEST_CHANGE = 0.05
"""Share of the mean by which repetitions of a process may drift from first to last, or step from one to the next.
Beyond it the mean depends on when the measurement stopped."""

ENOUGH_PROCESSES = "--rounds 5"

COLLAPSED_SHARE = 0.2
"""Share of the rate at the neighbouring thread count. A little core among big ones costs up to a factor of three or
four, the ratio of their speeds; beyond that, threads wait for each other (Dimensity: 23.9 tokens/s, then 0.26)."""

SWAPPED_MB = 16
"""Memory of the benchmark in swap. Pages that are used only at its start may be swapped out without effect."""

MAJOR_FAULTS_PER_S = 100.0
"""A major fault waits about 0.1 ms for a phone's flash: a hundred in a second are 1 % of the time."""

ENERGY = "energy withheld"
NOT_CHECKED = "not checked"
ROOM = "close other apps, take a smaller model or context, or measure without mmap, which holds repacked weights twice"
PEAK = "peak memory bandwidth"
LONGER = "values are read once a second, some of them every fifth or tenth second: ask for more tokens or repetitions"
NOT_SEEN = "a problem there would not be noticed"


Check = Callable[[Measured], Finding | None]


@dataclass(frozen=True)
class Verdict:
    """The findings of the checks."""

    findings: list[Finding]

    @property
    def valid(self) -> bool:
        """True when no finding makes the number invalid."""
        return not any(finding.invalid for finding in self.findings)

    @property
    def energy(self) -> bool:
        """True when joules per token may be reported."""
        return self.valid and not any(finding.check == ENERGY for finding in self.findings)


def judge(cell: Measured, checks: Sequence[Check] | None = None) -> Verdict:
    """Run every check, or `checks`, and return the findings in the order in which a reader needs them."""
    return Verdict([finding for check in checks or CHECKS if (finding := check(cell))])


def wandered(cell: Measured) -> Finding | None:
    """Find threads on CPUs outside the mask; without a mask, threads that share fewer CPUs than there are threads."""
    read = [set().union(*sample.thread_cpus.values()) for sample in cell.observation.samples if sample.thread_cpus]
    if cell.cpus is None:
        allowed = min(read, key=len, default=None)
        if allowed is None or len(allowed) >= cell.threads:
            return None
        found = f"{cell.threads} threads shared the {len(allowed)} CPUs {listed(allowed)} that Android left them"
        return Finding("mask not held", found, "use fewer threads; over SSH, keep Termux in the foreground, or use adb")
    asked = set(cell.cpus)
    if not read:
        found = f"nothing was read back of the mask {listed(asked)}"
        advice = "some builds ignore a mask silently: one that was not read back does not count"
        return Finding("mask not held", found, advice)
    masks = (set(cpus) for sample in cell.observation.samples for cpus in sample.thread_cpus.values())
    wrong = next((mask for mask in masks if mask != asked), None)
    if wrong is None:
        return None
    found = f"CPUs {listed(asked)} were asked for, a thread could run on {listed(wrong)}"
    return Finding("mask not held", found, "choose CPUs that this user may use, and close the other apps")


def vague(cell: Measured) -> Finding | None:
    """Find an interval, over processes or over the repetitions of a single process, that is too wide to compare."""
    means = [statistics.fmean(rates) for rates in cell.rounds]
    if len(cell.tokens_per_s) == 1:
        return Finding("unstable", "a single value shows nothing of how it varies", f"measure with {ENOUGH_PROCESSES}")
    found = interval(means if len(means) > 1 else cell.tokens_per_s)
    if found.half <= WIDEST_SHARE * found.mean:
        return None
    over = f"{len(means)} processes" if len(means) > 1 else f"the {len(cell.tokens_per_s)} repetitions of one process"
    width = f"the {CONFIDENCE:.0%} interval over {over} is ±{found.half / found.mean:.0%} of the mean"
    return Finding("unstable", width, "measure in more processes (--rounds), or close what else runs on the phone")


def single(cell: Measured) -> Finding | None:
    """Report a single process, which has no interval: the next process may differ by more than repetitions do."""
    if len(cell.rounds) != 1:
        return None
    found = "one process: its repetitions do not show how much the next one differs, so there is no interval"
    return Finding("one process", found, f"measure with {ENOUGH_PROCESSES}", invalid=False)


def drifting(cell: Measured) -> Finding | None:
    """Find repetitions that rise or fall within the processes, in all of them alike."""
    found = drift(cell.rounds)
    if found is None or not _matters(found):
        return None
    how = "lost" if found.share < 0 else "gained"
    advice = "start cool and pause between repetitions" if found.share < 0 else "let it warm up before it counts"
    where = "each process" if len(cell.rounds) > 1 else "the process"
    return Finding("unstable", f"the repetitions of {where} {how} {abs(found.share):.0%} from first to last", advice)


def stepping(cell: Measured) -> Finding | None:
    """Find a process whose rate changed from one repetition to the next, and stayed changed."""
    found = step(cell.rounds)
    if found is None or found.process is None or not _matters(found):
        return None
    how = "fell" if found.share < 0 else "rose"
    where = f"in process {found.process + 1} the rate {how} by {abs(found.share):.0%} after repetition {found.after}"
    return Finding("unstable", where, "close what else runs on the phone, start cool, and measure again")


def _matters(change: Change) -> bool:
    """Return whether a drift or a step is larger than LARGEST_CHANGE and unlikely to be chance."""
    return abs(change.share) > LARGEST_CHANGE and change.p_value < 1 - CONFIDENCE


def collapsed(cell: Measured) -> Finding | None:
    """Find a cell far slower than the next lower or higher thread count suggests."""
    mine = statistics.median(cell.tokens_per_s)
    below = max((threads for threads in cell.neighbours if threads < cell.threads), default=None)
    above = min((threads for threads in cell.neighbours if threads > cell.threads), default=None)
    for threads in (below, above):
        if threads is None:
            continue
        theirs = cell.neighbours[threads]
        expected = theirs * min(1.0, cell.threads / threads)  # fewer threads may be slower by as much as they are fewer
        if mine < COLLAPSED_SHARE * expected:
            found = f"{mine:.3g} tokens/s with {cell.threads} threads, {theirs:.3g} with {threads}"
            advice = "leave a CPU to the phone, and keep the threads on CPUs of one speed with a mask"
            return Finding("collapsed", found, advice)
    return None


def impossible(cell: Measured) -> Finding | None:
    """Find a rate that needs more bytes a second than the phone's memory can deliver."""
    soc = socs.find(cell.soc)
    ceiling = soc.decode_ceiling(cell.bytes_per_token) if soc and cell.bytes_per_token is not None else None
    best = max(cell.tokens_per_s)
    if soc is None or cell.bytes_per_token is None or ceiling is None or best <= ceiling:
        return None
    gb_s = best * cell.bytes_per_token / 1e9
    found = (
        f"{best:.3g} tokens/s of {cell.bytes_per_token / 1e9:.3g} GB each are {gb_s:.3g} GB/s, above the "
        f"{soc.peak_gb_s:.3g} GB/s of the {soc.name}'s DRAM ({soc.dram}; {soc.dram_source})"
    )
    return Finding("impossible", found, "find out what was not computed: another model, or fewer tokens than requested")


def swapped(cell: Measured) -> Finding | None:
    """Find a benchmark that was partly swapped out."""
    most = max((sample.swapped_mb or 0 for sample in cell.observation.samples), default=0)
    if most < SWAPPED_MB:
        return None
    return Finding("swapped", f"{most} MB of the benchmark were swapped out", ROOM)


def starved(cell: Measured) -> Finding | None:
    """Find a benchmark that read its weights from storage again and again, because they did not fit in memory."""
    known = [
        (sample.at_s, sample.major_faults) for sample in cell.observation.samples if sample.major_faults is not None
    ]
    if len(known) < 2 or known[-1][0] <= known[0][0]:
        return None
    per_s = (known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0])
    if per_s <= MAJOR_FAULTS_PER_S:
        return None
    return Finding("memory-starved", f"the benchmark waited for storage {per_s:.0f} times a second", ROOM)


def charging(cell: Measured) -> Finding | None:
    """Withhold the energy of a phone that was charging, or may have been: the current is then not the phone's own.

    Where sysfs is not readable, Android's service is queried for every tenth sample: a sample without a state means
    nothing.
    """
    states = _charging(cell.observation)
    if states == {False}:
        return None
    found = "the phone was charging" if True in states else "whether the phone was charging could not be read"
    if not states and cell.whole and _charging(cell.whole):
        return Finding(ENERGY, f"{_too_short(cell)} the battery's state", LONGER, invalid=False)
    return Finding(ENERGY, found, "unplug it, and reach it over Wi-Fi", invalid=False)


def unread(cell: Measured) -> Finding | None:
    """Report what was not checked: the phone does not expose it, or the repetitions ended too soon."""
    missing = _missing(cell, cell.observation)
    if not missing:
        return None
    # What was read while the model was loaded is exposed: there was only no time to read it during the repetitions.
    never = missing if cell.whole is None else [what for what in missing if what in _missing(cell, cell.whole)]
    if cell.whole is not None and len(cell.whole.samples) < 2 and cell.timed_s is not None and cell.timed_s < 2:
        never = [what for what in never if what == PEAK]
    if not never:
        return Finding(NOT_CHECKED, f"{_too_short(cell)} {', '.join(missing)}", LONGER, invalid=False)
    short = [what for what in missing if what not in never]
    also = f"; {_too_short(cell)} {', '.join(short)}" if short else ""
    return Finding(NOT_CHECKED, f"this phone does not expose its {', '.join(never)}{also}", NOT_SEEN, invalid=False)


def implausible(cell: Measured) -> Finding | None:
    """Report readings that no such sensor can mean, and sensors that are stuck. They were left out of all checks."""
    seen = cell.observation
    found = [
        f"{count} {'reading' if count == 1 else 'readings'} of {sensor} {'was' if count == 1 else 'were'} implausible"
        " and left out"
        for sensor, count in seen.dropped.items()
    ]
    found += [
        f"{sensor} was stuck at {celsius:.0f} °C, far above all others, and left out"
        for sensor, celsius in seen.stuck.items()
    ]
    if not found:
        return None
    return Finding("sensor readings", ", ".join(found), "what the other readings say counts", invalid=False)


def _charging(seen: Observation) -> set[bool]:
    states = (sample.battery.charging for sample in seen.samples if sample.battery)
    return {charging for charging in states if charging is not None}


def _missing(cell: Measured, seen: Observation) -> list[str]:
    """Return the kinds of values that are missing in these samples."""
    samples = seen.samples
    read = {
        "frequency caps": seen.max_mhz and any(sample.cap_mhz for sample in samples),
        "frequencies": seen.max_mhz and any(sample.mhz for sample in samples),
        "temperatures": any(sample.celsius for sample in samples),
        "trip points": seen.trip_celsius or any(sample.thermal_status is not None for sample in samples),
        "swapped memory": any(sample.swapped_mb is not None for sample in samples),
        "page faults": sum(sample.major_faults is not None for sample in samples) > 1,
        PEAK: cell.bytes_per_token is None or socs.find(cell.soc),
    }
    return [what for what, known in read.items() if not known]


def _too_short(cell: Measured) -> str:
    seconds = "" if cell.timed_s is None else f" of {cell.timed_s:.2g} s"
    return f"the timed part{seconds} was too short to sample"


OF_A_RUN: tuple[Check, ...] = (
    impossible,
    wandered,
    capped,
    slowed,
    tripped,
    unplugged,
    swapped,
    starved,
)
"""The checks of a single process of a cell."""

OF_A_CELL: tuple[Check, ...] = (collapsed, drifting, stepping, vague)
"""The checks of all processes of a cell together, and of its neighbours."""

REMARKS: tuple[Check, ...] = (charging, unread, implausible, single)
"""The checks whose findings a reader should know, and that make nothing invalid."""

CHECKS = (*OF_A_RUN, *OF_A_CELL, *REMARKS)
