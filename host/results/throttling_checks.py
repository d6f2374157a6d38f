"""The checks for throttling: a phone that slowed itself down while a cell was measured."""

from __future__ import annotations

from smoothdroid.host.results.cpu_masks import listed
from smoothdroid.host.results.finding import Finding, Measured

CAPPED_SHARE = 0.95
"""Share of a CPU's own top speed: some phones keep the last step of the scale for a single busy core, hot or cold."""

SLOWED_SHARE = 0.8
"""Share of a CPU's own top speed: a governor that settles a step or two below the top is no throttling."""

LEAST_TRIP_CELSIUS = 40.0
"""A trip point below this is met by a phone at rest in a warm room: it does not mark where slowing down begins."""

THROTTLING_STATUS = 1
"""Android's THERMAL_STATUS_LIGHT: throttled, if only so that nobody sees it."""

COOL = "let the phone cool, take it out of its cover, switch battery saver off, and measure again"


def capped(cell: Measured) -> Finding | None:
    """Find a limit that kept a CPU in use below its top speed."""
    tops = cell.observation.max_mhz
    caps = [
        (cap / tops[cpu], cpu, cap)
        for sample in cell.observation.samples
        for cpu, cap in sample.cap_mhz.items()
        if cpu in in_use(cell) and cpu in tops
    ]
    share, cpu, cap = min(caps, default=(1.0, 0, 0))
    if share >= CAPPED_SHARE:
        return None
    return Finding("throttled", f"CPU {cpu} was held to {cap} of its {tops[cpu]} MHz", COOL)


def slowed(cell: Measured) -> Finding | None:
    """Find CPUs that ran slowly most of the time, even the fastest in use: firmware can cap where no file shows it."""
    tops = cell.observation.max_mhz
    fastest = []
    for sample in cell.observation.samples:
        busy = [(mhz / tops[cpu], cpu, mhz) for cpu, mhz in sample.mhz.items() if cpu in in_use(cell) and cpu in tops]
        fastest += [max(busy)] if busy else []
    share, cpu, mhz = sorted(fastest)[len(fastest) // 2] if fastest else (1.0, 0, 0)
    if share >= SLOWED_SHARE:
        return None
    found = f"no CPU in use ran faster, half of the time, than CPU {cpu} at {mhz} of its {tops[cpu]} MHz"
    return Finding("throttled", found, COOL)


def tripped(cell: Measured) -> Finding | None:
    """Find a sensor at the temperature where the phone begins to slow down, or Android's report that it has begun."""
    trips = {zone: trip for zone, trip in cell.observation.trip_celsius.items() if trip >= LEAST_TRIP_CELSIUS}
    over = [
        (celsius - trips[zone], zone, celsius)
        for sample in cell.observation.samples
        for zone, celsius in sample.celsius.items()
        if zone in trips and celsius >= trips[zone]
    ]
    if over:
        _, zone, celsius = max(over)
        found = f"{zone} was at {celsius:.1f} °C, and the phone begins to slow down at {trips[zone]:.1f} °C"
        return Finding("throttled", found, COOL)
    status = max((sample.thermal_status or 0 for sample in cell.observation.samples), default=0)
    if status >= THROTTLING_STATUS:
        return Finding("throttled", f"Android's thermal status was {status}, of 0 (none) to 6 (shutdown)", COOL)
    return None


def unplugged(cell: Measured) -> Finding | None:
    """Find a CPU of the mask that was switched off; without a mask, fewer CPUs than there are threads."""
    seen = [set(sample.online) for sample in cell.observation.samples if sample.online is not None]
    if cell.cpus is not None:
        off = {cpu for cpu in cell.cpus if any(cpu not in online for online in seen)}
    else:
        fewest = min(seen, key=len, default=set())
        off = set().union(*seen) - fewest if len(fewest) < cell.threads else set()
    if not off:
        return None
    return Finding("throttled", f"CPUs {listed(off)} were switched off for a time", COOL)


def in_use(cell: Measured) -> set[int]:
    """Return the CPUs of the mask; without one, the fastest CPUs allowed, on which Android puts heavy threads."""
    if cell.cpus is not None:
        return set(cell.cpus)
    tops = cell.observation.max_mhz
    allowed = {cpu for s in cell.observation.samples for cpus in s.thread_cpus.values() for cpu in cpus} or set(tops)
    speeds = sorted((tops[cpu] for cpu in allowed & tops.keys()), reverse=True)[: cell.threads]
    return {cpu for cpu in allowed & tops.keys() if tops[cpu] >= speeds[-1]}
