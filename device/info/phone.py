"""What this phone is: model, SoC, CPU clusters, ISA, memory, temperatures, battery. Read, never looked up by name."""

from __future__ import annotations

import csv
import re
from collections import Counter
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.device.info.identity import MARK, phone_id
from smoothdroid.device.info.readings import (
    NO_TEMPERATURE,
    megahertz,
    number,
    percents,
    temperatures,
    tenths_of_degrees,
)
from smoothdroid.device.transport.target import Target
from smoothdroid.device.virtual.profile import EMULATED

DESCRIBE = Path(__file__).with_name("describe.sh")
CPU_PARTS = Path(__file__).with_name("cpu_parts.csv")
MOST_CPUS = 1024  # numbers beyond are not any phone's, and no workstation's of today
LONGEST_LINE = 8192  # a Features line has some hundred characters
LONGEST_ANSWER = 8 << 20  # a phone's properties take 100 KB

# What decides about an ISA level, as the kernel promises it to programs: where in the auxiliary vector, and which bit
# (linux/auxvec.h; arch/arm64/include/uapi/asm/hwcap.h).
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


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cluster(_Record):
    """CPUs of one kind at one top speed."""

    cpus: list[int]
    name: str
    """Cortex-A510, or `0x41:0xd46` for a part that no table names, or `unknown`."""
    max_mhz: int | None

    def __str__(self) -> str:
        return f"{len(self.cpus)}×{self.name}" + (f" {self.max_mhz / 1000:.2f} GHz" if self.max_mhz else "")


class Battery(_Record):
    """The battery, as far as this user may read it."""

    level_percent: int | None = None
    celsius: float | None = None
    charging: bool | None = None


class Phone(_Record):
    """What is found at the end of a target."""

    id: str
    """Stable over reboots and ways: from the serial number where it may be read."""
    model: str
    soc: str
    android: str
    """Android's version, or empty where there is no Android."""
    kernel: str
    abi: str
    features: list[str]
    """The words of the Features line that every CPU listed has, and that the kernel's hwcaps do not deny; sorted."""
    lacking: dict[str, list[int]] = Field(default_factory=dict)
    """Words that only some of the CPUs listed have -> the CPUs that lack them."""
    withheld: list[str] = Field(default_factory=list)
    """Words that every CPU listed has, and that the kernel does not promise to programs."""
    unseen_cpus: list[int] = Field(default_factory=list)
    """CPUs that the phone has, and of which /proc/cpuinfo says nothing: they were off."""
    clusters: list[Cluster]
    """Fastest first."""
    cpu_count: int
    memory_mb: int
    available_mb: int
    free_mb: int
    """Free space where smoothdroid keeps its files."""
    celsius: dict[str, float]
    """Thermal zone -> temperature."""
    battery: Battery
    emulated: bool
    """Not hardware: what it says of speed is nothing."""
    bionic: bool = False
    """Android's loader is there: it runs what an NDK made. Without it a program must be static."""
    mark: str = ""
    """A random number that smoothdroid keeps on the phone, in the folder of the user that it works as there."""


def describe(target: Target) -> Phone:
    """Ask a phone what it is. Raises CommandFailed when the answer makes no sense."""
    text = target.run(["sh", "-c", DESCRIBE.read_text(encoding="utf-8"), "describe", target.root], timeout_s=60).stdout
    return parse(text, target.name, target.kind)


def parse(text: str, target: str, transport: str = "adb") -> Phone:
    """The output of describe.sh -> Phone. Raises CommandFailed when a part that every Linux has is missing."""
    parts = re.split(r"^==(\w+)$", _readable(text, target), flags=re.MULTILINE)
    section = {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    properties = parse_properties(section.get("getprop", ""))
    try:
        kernel_name, kernel, machine = section["uname"].split()
        memory = dict(re.findall(r"^(\w+):[ \t]+([0-9]{1,12}) kB", section["meminfo"], flags=re.MULTILINE))
        # Kernels before 3.14 do not say what is available.
        available_mb = int(memory.get("MemAvailable") or memory["MemFree"]) // 1024
        total_mb = int(memory["MemTotal"]) // 1024
        free_mb = _kilobytes(section["df"].splitlines()[-1].split()[-3]) // 1024
        cpuinfo = section["cpuinfo"]
    except (KeyError, ValueError, IndexError) as error:
        raise CommandFailed(target, ["describe"], 0, stderr=f"the phone's answer lacks {error}") from error
    get, mark = properties.get, section.get("mark", "").strip()
    maker, model = get("ro.product.manufacturer", ""), get("ro.product.model", "")
    clusters = parse_clusters(cpuinfo, section.get("cpus", ""))
    features, lacking = parse_features(cpuinfo), parse_lacking(cpuinfo)
    withheld = features & set(HWCAPS) - hwcaps if (hwcaps := parse_hwcaps(section.get("hwcaps", ""))) else set()
    listed = parse_parts(cpuinfo)
    return Phone(
        id=phone_id(properties, mark, target, transport),
        model=f"{maker} {model}".strip() or _host_model(cpuinfo) or f"{kernel_name} {machine}",
        soc=get("ro.soc.model") or get("ro.board.platform") or get("ro.hardware") or machine,
        android=get("ro.build.version.release", ""),
        kernel=kernel,
        abi=get("ro.product.cpu.abi") or {"aarch64": "arm64-v8a"}.get(machine, machine),
        features=sorted(features - withheld),
        lacking=lacking,
        withheld=sorted(withheld),
        unseen_cpus=sorted(cpu for cluster in clusters for cpu in cluster.cpus if cpu not in listed),
        clusters=clusters,
        cpu_count=sum(len(cluster.cpus) for cluster in clusters),
        memory_mb=total_mb,
        available_mb=available_mb,
        free_mb=free_mb,
        celsius=parse_temperatures(section.get("thermal", "")),
        battery=parse_battery(section.get("battery", "")),
        emulated=get(EMULATED) == "1",
        bionic="/system/bin/linker64" in section.get("bionic", ""),
        mark=mark if MARK.fullmatch(mark) else "",
    )


def _readable(text: str, target: str) -> str:
    """The answer without what no tool prints: control characters, endless lines. Raises CommandFailed for too much."""
    if len(text) > LONGEST_ANSWER:
        raise CommandFailed(target, ["describe"], 0, stderr=f"the phone's answer has {len(text) >> 20} MiB")
    plain = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", text)
    return "\n".join(line for line in plain.split("\n") if len(line) <= LONGEST_LINE)


def _kilobytes(text: str) -> int:
    """Raises ValueError when it is none."""
    if not re.fullmatch("[0-9]{1,12}", text):
        raise ValueError(f"a size in kB, and says {text[:40]!r}")
    return int(text)


def parse_properties(getprop: str) -> dict[str, str]:
    """Android's properties; those whose value has several lines are left out."""
    lines = (line[1:-1].partition("]: [") for line in getprop.split("\n") if line[:1] == "[" and line[-1:] == "]")
    return {name: value for name, found, value in lines if found}


def parse_features(cpuinfo: str) -> set[str]:
    """The features that every CPU listed in /proc/cpuinfo has (a binary may run on any of them)."""
    lines = re.findall(r"^(?:Features|flags)\s*:(.*)$", cpuinfo, flags=re.MULTILINE)
    return set.intersection(*(set(line.split()) for line in lines)) if lines else set()


def parse_lacking(cpuinfo: str) -> dict[str, list[int]]:
    """Words that only some CPUs have -> the CPUs that lack them; only where each CPU has a line of its own."""
    of_cpu: dict[int, set[str]] = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        cpu = _processors(block)
        words = re.findall(r"^(?:Features|flags)\s*:(.*)$", block, flags=re.MULTILINE)
        if len(cpu) == len(words) == 1:
            of_cpu[cpu[0]] = set(words[0].split())
    some = set.union(set(), *of_cpu.values()) - parse_features(cpuinfo)
    return {word: [cpu for cpu, words in sorted(of_cpu.items()) if word not in words] for word in sorted(some)}


def parse_hwcaps(text: str) -> set[str]:
    """The words of HWCAPS that the kernel promises to programs, from two lines: od's of the ELF file that a process
    runs, and of its auxiliary vector (man 3 getauxval). Empty where they are not readable or not of 64-bit ARM.
    """
    elf, _, vector = text.partition("\n--\n")
    header = elf.split()
    if header[:5] != ["7f", "45", "4c", "46", "02"] or header[18:20] != ["b7", "00"]:
        return set()
    values = [int(word, 16) for word in vector.split() if re.fullmatch(r"[0-9a-f]{16}", word)]
    hwcap = dict(zip(values[::2], values[1::2], strict=False))
    return {word for word, (kind, bit) in HWCAPS.items() if hwcap.get(kind, 0) >> bit & 1}


def parse_clusters(cpuinfo: str, cpus: str) -> list[Cluster]:
    """CPUs grouped by kind and top speed, fastest first.

    `cpus` has a line "NUMBER MAX_KHZ ONLINE" for each CPU of sysfs ("-" where it may not be read); /proc/cpuinfo
    lists only CPUs that are online, and on old kernels names one part for all of them. What a CPU is called is never
    guessed across speeds.
    """
    kinds = parse_parts(cpuinfo)
    speeds: dict[int, int | None] = dict.fromkeys(kinds)
    for cpu, max_khz in re.findall(r"^([0-9]{1,4}) (\S+) \S+$", cpus, flags=re.MULTILINE):
        if int(cpu) < MOST_CPUS:
            (mhz,) = megahertz([number(max_khz)]).values
            speeds[int(cpu)] = None if mhz is None else int(mhz)
    listed = {speeds[cpu] for cpu in kinds}
    if len(re.findall("^CPU part", cpuinfo, flags=re.MULTILINE)) < len(kinds) and (len(listed) > 1 or None in listed):
        kinds = dict.fromkeys(kinds, "unknown")  # the one part is that of whichever core answered
    alike: dict[int | None, set[str]] = {}
    for cpu, kind in kinds.items():
        alike.setdefault(speeds[cpu], set()).add(kind)
    groups: dict[tuple[str, int | None], list[int]] = {}
    for cpu, top in sorted(speeds.items()):
        same = alike.get(top, set()) if top else set()
        groups.setdefault((kinds.get(cpu) or (min(same) if len(same) == 1 else "unknown"), top), []).append(cpu)
    clusters = [Cluster(cpus=members, name=kind, max_mhz=top) for (kind, top), members in groups.items()]
    # Where speed tells nothing, the big cores are mostly those with the high numbers.
    return sorted(clusters, key=lambda cluster: (cluster.max_mhz or 0, cluster.cpus), reverse=True)


def parse_parts(cpuinfo: str) -> dict[int, str]:
    """CPU number -> the name of its part, from the blocks of /proc/cpuinfo.

    Old kernels have one part for several CPUs: in their common block, or after them all.
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
    """The numbers of the CPUs that a block of /proc/cpuinfo is about."""
    found = re.findall(r"^processor[ \t]*:[ \t]*([0-9]{1,4})[ \t]*$", block, flags=re.MULTILINE)
    return [int(cpu) for cpu in found if int(cpu) < MOST_CPUS]


@cache
def _part_names() -> dict[tuple[str, str], str]:
    with CPU_PARTS.open(encoding="utf-8", newline="") as file:
        return {(row["implementer"], row["part"]): row["name"] for row in csv.DictReader(file)}


def parse_temperatures(thermal: str) -> dict[str, float]:
    """Zone -> degrees Celsius, from lines "VALUE TYPE"; what is no temperature is left out."""
    celsius: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for line in thermal.split("\n"):
        value, _, zone = line.partition(" ")
        if not zone or NO_TEMPERATURE.fullmatch(zone):
            continue
        (degrees,) = temperatures([number(value)], [0.0]).values
        if degrees is not None:
            seen[zone] += 1
            celsius[zone if seen[zone] == 1 else f"{zone} {seen[zone]}"] = degrees
    return celsius


def parse_battery(text: str) -> Battery:
    """From `dumpsys battery`, and where an app may not ask it, from sysfs."""
    # Anchored at both ends of the key: Android 15 has "Capacity level:", vendors have "Charger voltage :".
    fields = r"^[ \t]*(level|status|temperature): (-?[0-9]{1,10})[ \t\r]*$"
    dumpsys: dict[str, str] = dict(re.findall(fields, text, flags=re.MULTILINE))
    if "UPDATES STOPPED" in text:
        dumpsys = {}  # values that somebody set by hand
    sysfs: dict[str, str] = dict(re.findall(r"^sysfs (\w+) (\S(?:.{0,60}\S)?)[ \t\r]*$", text, flags=re.MULTILINE))
    (level,) = percents([number(dumpsys.get("level", sysfs.get("capacity", "")))]).values
    (celsius,) = tenths_of_degrees([number(dumpsys.get("temperature", sysfs.get("temp", "")))]).values
    charging: bool | None = None
    if "status" in dumpsys:
        charging = dumpsys["status"] in ("2", "5")  # BatteryManager: charging, full
    elif "status" in sysfs:
        charging = sysfs["status"] in ("Charging", "Full")
    return Battery(level_percent=None if level is None else int(level), celsius=celsius, charging=charging)


def _host_model(cpuinfo: str) -> str:
    """A workstation's CPU, for `local:`."""
    name = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)
    return name[1].strip() if name else ""
