"""The CPUs of a phone: clusters, features and hwcaps, from /proc/cpuinfo, sysfs and the auxiliary vector."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from smoothdroid.device.common.record import Record
from smoothdroid.device.info.readings import Cleaned, in_unit, number

CPU_PARTS = Path(__file__).with_name("cpu_parts.csv")
MOST_CPUS = 1024
"""CPU numbers from here on are damage: no phone or workstation has so many CPUs."""
PLAUSIBLE_MHZ = (10.0, 10_000.0)

# The features that decide about an ISA level: the entry of the auxiliary vector in which the kernel reports each one to
# programs, and the bit in it (linux/auxvec.h; arch/arm64/include/uapi/asm/hwcap.h).
_AT_HWCAP, _AT_HWCAP2 = 16, 26
HWCAPS = {
    "asimd": (_AT_HWCAP, 1),
    "fphp": (_AT_HWCAP, 9),
    "asimdhp": (_AT_HWCAP, 10),
    "asimddp": (_AT_HWCAP, 20),
    "sve": (_AT_HWCAP, 22),
    "sve2": (_AT_HWCAP2, 1),
    "i8mm": (_AT_HWCAP2, 13),
    "bf16": (_AT_HWCAP2, 14),
}


class Cluster(Record):
    """The CPUs of one kind and maximum frequency."""

    cpus: list[int]
    name: str
    """The name such as Cortex-A510; `0x41:0xd46` for a part that cpu_parts.csv lacks; or `unknown`."""
    max_mhz: int | None

    def __str__(self) -> str:
        """Return the number of cores, their name and their maximum frequency."""
        return f"{len(self.cpus)}×{self.name}" + (f" {self.max_mhz / 1000:.2f} GHz" if self.max_mhz else "")


def parse_features(cpuinfo: str) -> set[str]:
    """Return the features that every CPU in /proc/cpuinfo has: a binary may run on any of them."""
    lines = re.findall(r"^(?:Features|flags)\s*:(.*)$", cpuinfo, flags=re.MULTILINE)
    return set.intersection(*(set(line.split()) for line in lines)) if lines else set()


def parse_lacking(cpuinfo: str) -> dict[str, list[int]]:
    """Return the features that only some CPUs have, with the CPUs that lack them; needs a line for each CPU."""
    of_cpu: dict[int, set[str]] = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        cpu = _processors(block)
        words = re.findall(r"^(?:Features|flags)\s*:(.*)$", block, flags=re.MULTILINE)
        if len(cpu) == len(words) == 1:
            of_cpu[cpu[0]] = set(words[0].split())
    some = set.union(set(), *of_cpu.values()) - parse_features(cpuinfo)
    return {word: [cpu for cpu, words in sorted(of_cpu.items()) if word not in words] for word in sorted(some)}


def parse_hwcaps(text: str) -> set[str]:
    """Return the features of HWCAPS that the kernel reports to programs (man 3 getauxval).

    `text` holds two dumps by od: the ELF header of the program that ran, and its auxiliary vector. The result is empty
    where they are unreadable or not of 64-bit ARM.
    """
    elf, _, vector = text.partition("\n--\n")
    header = elf.split()
    if header[:5] != ["7f", "45", "4c", "46", "02"] or header[18:20] != ["b7", "00"]:
        return set()
    values = [int(word, 16) for word in vector.split() if re.fullmatch(r"[0-9a-f]{16}", word)]
    hwcap = dict(zip(values[::2], values[1::2], strict=False))
    return {word for word, (kind, bit) in HWCAPS.items() if hwcap.get(kind, 0) >> bit & 1}


def parse_clusters(cpuinfo: str, cpus: str) -> list[Cluster]:
    """Group the CPUs by kind and maximum frequency, fastest first.

    `cpus` has a line "NUMBER MAX_KHZ ONLINE" for each CPU of sysfs ("-" where it may not be read); /proc/cpuinfo
    lists only CPUs that are online, and on old kernels names one part for all of them. A CPU gets no name from CPUs of
    another frequency.
    """
    kinds = parse_parts(cpuinfo)
    speeds: dict[int, int | None] = dict.fromkeys(kinds)
    for cpu, max_khz in re.findall(r"^([0-9]{1,4}) (\S+) \S+$", cpus, flags=re.MULTILINE):
        if int(cpu) < MOST_CPUS:
            (mhz,) = megahertz([number(max_khz)]).values
            speeds[int(cpu)] = None if mhz is None else int(mhz)
    listed = {speeds[cpu] for cpu in kinds}
    if len(re.findall("^CPU part", cpuinfo, flags=re.MULTILINE)) < len(kinds) and (len(listed) > 1 or None in listed):
        kinds = dict.fromkeys(kinds, "unknown")  # the only part belongs to the core that read the file
    alike: dict[int | None, set[str]] = {}
    for cpu, kind in kinds.items():
        alike.setdefault(speeds[cpu], set()).add(kind)
    groups: dict[tuple[str, int | None], list[int]] = {}
    for cpu, top in sorted(speeds.items()):
        same = alike.get(top, set()) if top else set()
        groups.setdefault((kinds.get(cpu) or (min(same) if len(same) == 1 else "unknown"), top), []).append(cpu)
    clusters = [Cluster(cpus=members, name=kind, max_mhz=top) for (kind, top), members in groups.items()]
    # At equal speed, the big cores are mostly those with the high numbers.
    return sorted(clusters, key=lambda cluster: (cluster.max_mhz or 0, cluster.cpus), reverse=True)


def parse_parts(cpuinfo: str) -> dict[int, str]:
    """Return the name of each CPU's part, from the blocks of /proc/cpuinfo.

    Old kernels have one part for several CPUs: in their common block, or after the last one.
    """
    kinds: dict[int, str | None] = {}
    for_all = None
    for block in re.split(r"\n\s*\n", cpuinfo):
        fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in block.split("\n"))}
        implementer, part = fields.get("CPU implementer"), fields.get("CPU part")
        name = fields.get("model name")
        if implementer and part:
            name = _part_names().get((implementer, part), f"{implementer}:{part}")
        cpus = _processors(block)
        kinds |= dict.fromkeys(cpus, name)
        for_all = for_all if cpus else name or for_all
    return {cpu: kind or for_all or "unknown" for cpu, kind in kinds.items()}


def _processors(block: str) -> list[int]:
    """Return the numbers of the CPUs that a block of /proc/cpuinfo describes."""
    numbers = re.findall(r"^processor[ \t]*:[ \t]*([0-9]{1,4})[ \t]*$", block, flags=re.MULTILINE)
    return [int(cpu) for cpu in numbers if int(cpu) < MOST_CPUS]


@cache
def _part_names() -> dict[tuple[str, str], str]:
    with CPU_PARTS.open(encoding="utf-8", newline="") as file:
        return {(row["implementer"], row["part"]): row["name"] for row in csv.DictReader(file)}


def megahertz(raw: Sequence[int | None]) -> Cleaned:
    """Convert a CPU's frequencies from kHz to MHz."""
    return in_unit(raw, lambda median: 1000, PLAUSIBLE_MHZ)
