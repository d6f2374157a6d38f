"""CPU masks by name: `big`, `mid`, `little`, from the clusters that a phone reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.cpu import Cluster
from smoothdroid.device.info.cpu_list import CPU_LIST, parse_cpus

ANY = "any"
"""No mask: Android chooses the CPUs."""


def cpus_of(name: str, clusters: Sequence[Cluster]) -> list[int]:
    """Return the CPUs of `big+mid`, `0-3,7` or `any`, ascending; none for `any`.

    `big` is the fastest cluster, `little` the slowest, `mid` what lies between, in one or more clusters. Raises
    BadInput where the phone has no such CPUs.
    """
    text = name.replace(" ", "")
    if text == ANY:
        return []
    named = names(clusters)
    if re.fullmatch(CPU_LIST, text):
        try:
            cpus = parse_cpus(text)
        except ValueError as error:
            raise BadInput(f"--cpus {name!r}: the list is empty or endless; write it as in 0-3,7") from error
    elif unknown := [part for part in text.split("+") if part not in named]:
        have = ", ".join(f"{part} ({len(cpus)} CPUs)" for part, cpus in named.items())
        raise BadInput(f"--cpus {name!r}: this phone has no `{unknown[0]}`. It has {have}; or write CPUs, as in 0-3,7")
    else:
        cpus = [cpu for part in text.split("+") for cpu in named[part]]
    there = {cpu for cluster in clusters for cpu in cluster.cpus}
    if beyond := sorted(set(cpus) - there):
        raise BadInput(f"--cpus {name!r}: this phone has no CPU {beyond[0]}, but {len(there)} from {min(there)} on")
    return sorted(set(cpus))


def names(clusters: Sequence[Cluster]) -> dict[str, list[int]]:
    """Return the names of this phone's CPUs; only `all` where they are of one kind, or no speed tells them apart."""
    every = sorted(cpu for cluster in clusters for cpu in cluster.cpus)
    speeds = [cluster.max_mhz for cluster in clusters]
    if len(clusters) < 2 or None in speeds or len(set(speeds)) < len(speeds):
        return {"all": every}
    big, *between, little = clusters
    mid = [cpu for cluster in between for cpu in cluster.cpus]
    return {"big": big.cpus, **({"mid": mid} if mid else {}), "little": little.cpus, "all": every}


def label(cpus: Sequence[int], clusters: Sequence[Cluster]) -> str:
    """Return the name of a mask in reports: `big+mid` where it has one, else `0-3`; `any` without a mask."""
    if not cpus:
        return ANY
    parts = {name: set(members) for name, members in names(clusters).items()}
    if set(cpus) == parts["all"]:
        return "all"
    whole = [name for name, members in parts.items() if members <= set(cpus)]
    if whole and set(cpus) == set().union(*(parts[name] for name in whole)):
        return "+".join(whole)
    return listed(cpus)


def listed(cpus: Iterable[int]) -> str:
    """Return CPUs as the kernel writes them: `0-3,7`."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][-1] + 1:
            ranges[-1][1:] = [cpu]
        else:
            ranges.append([cpu])
    return ",".join("-".join(map(str, ends)) for ends in ranges)
