"""What this phone is: model, SoC, CPU clusters, ISA, memory, temperatures, battery. Read, never looked up by name."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from device.errors import CommandFailed
from device.target import Target

DESCRIBE = Path(__file__).with_name("describe.sh")
CPU_PARTS = Path(__file__).with_name("cpu_parts.csv")
EMULATED = "smoothdroid.emulated"  # the property that the emulated phone sets, and no real one has
PLAUSIBLE_CELSIUS = (-30.0, 150.0)  # thermal zones also hold mV, mA, percent and "no sensor" in the same files
# Zones of Pixels and Snapdragons that are currents, voltages, percents, counts and differences of temperatures.
NO_TEMPERATURE = re.compile(r"(soft_)?ocp_.*|vdroop\d|smpl_gm|batoilo|socd?|[vi]bat|battery_cycle|.*-MINUS-.*")

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
    bionic: bool = False
    """Android's loader is there: it runs what an NDK made. Without it a program must be static."""
    """Not hardware: what it says of speed is nothing."""


def describe(target: Target) -> Phone:
    """Ask a phone what it is. Raises CommandFailed when the answer makes no sense."""
    text = target.run(["sh", "-c", DESCRIBE.read_text(encoding="utf-8"), "describe", target.root], timeout_s=60).stdout
    return parse(text, target.name)


def parse(text: str, target: str) -> Phone:
    """The output of describe.sh -> Phone. Raises CommandFailed when a part that every Linux has is missing."""
    parts = re.split(r"^==(\w+)\r?$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    section = {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    properties = dict(re.findall(r"^\[(.*?)\]: \[(.*)\]$", section.get("getprop", ""), flags=re.MULTILINE))
    try:
        kernel_name, kernel, machine = section["uname"].split()
        memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", section["meminfo"], flags=re.MULTILINE))
        # Kernels before 3.14 do not say what is available.
        available_mb = int(memory.get("MemAvailable") or memory["MemFree"]) // 1024
        total_mb = int(memory["MemTotal"]) // 1024
        free_mb = int(section["df"].splitlines()[-1].split()[-3]) // 1024
        cpuinfo = section["cpuinfo"]
    except (KeyError, ValueError, IndexError) as error:
        raise CommandFailed(target, ["describe"], 0, stderr=f"the phone's answer lacks {error}") from error
    get = properties.get
    serial = get("ro.serialno") or get("ro.boot.serialno") or f"{target} {get('ro.build.fingerprint', '')}"
    maker, model = get("ro.product.manufacturer", ""), get("ro.product.model", "")
    clusters = parse_clusters(cpuinfo, section.get("cpus", ""))
    features, lacking = parse_features(cpuinfo), parse_lacking(cpuinfo)
    withheld = features & set(HWCAPS) - hwcaps if (hwcaps := parse_hwcaps(section.get("hwcaps", ""))) else set()
    listed = parse_parts(cpuinfo)
    return Phone(
        id=hashlib.sha256(serial.encode()).hexdigest()[:12],
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
    )


def parse_features(cpuinfo: str) -> set[str]:
    """The features that every CPU listed in /proc/cpuinfo has (a binary may run on any of them)."""
    lines = re.findall(r"^(?:Features|flags)\s*:(.*)$", cpuinfo, flags=re.MULTILINE)
    return set.intersection(*(set(line.split()) for line in lines)) if lines else set()


def parse_lacking(cpuinfo: str) -> dict[str, list[int]]:
    """Words that only some CPUs have -> the CPUs that lack them; only where each CPU has a line of its own."""
    of_cpu: dict[int, set[str]] = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        cpu = re.findall(r"^processor\s*:\s*(\d+)\s*$", block, flags=re.MULTILINE)
        words = re.findall(r"^(?:Features|flags)\s*:(.*)$", block, flags=re.MULTILINE)
        if len(cpu) == len(words) == 1:
            of_cpu[int(cpu[0])] = set(words[0].split())
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
    for number, max_khz in re.findall(r"^(\d+) (\S+) \S+$", cpus, flags=re.MULTILINE):
        speeds[int(number)] = int(max_khz) // 1000 if max_khz.isdigit() else None
    listed = {speeds[cpu] for cpu in kinds}
    if len(re.findall("^CPU part", cpuinfo, flags=re.MULTILINE)) < len(kinds) and (len(listed) > 1 or None in listed):
        kinds = dict.fromkeys(kinds, "unknown")  # the one part is that of whichever core answered
    groups: dict[tuple[str, int | None], list[int]] = {}
    for cpu, mhz in sorted(speeds.items()):
        alike = {kinds[other] for other in kinds if mhz and speeds[other] == mhz}
        kind = kinds.get(cpu) or (alike.pop() if len(alike) == 1 else "unknown")
        groups.setdefault((kind, mhz), []).append(cpu)
    clusters = [Cluster(cpus=members, name=kind, max_mhz=mhz) for (kind, mhz), members in groups.items()]
    # Where speed tells nothing, the big cores are mostly those with the high numbers.
    return sorted(clusters, key=lambda cluster: (cluster.max_mhz or 0, cluster.cpus), reverse=True)


def parse_parts(cpuinfo: str) -> dict[int, str]:
    """CPU number -> the name of its part, from the blocks of /proc/cpuinfo.

    Old kernels have one part for several CPUs: in their common block, or after them all.
    """
    kinds: dict[int, str | None] = {}
    for_all = None
    for block in re.split(r"\n\s*\n", cpuinfo):
        fields = dict(re.findall(r"^([\w ]+?)\s*:\s*(.*)$", block, flags=re.MULTILINE))
        implementer, part = fields.get("CPU implementer"), fields.get("CPU part")
        name = fields.get("model name")
        if implementer and part:
            name = _part_names().get((implementer, part), f"{implementer}:{part}")
        cpus = re.findall(r"^processor\s*:\s*(\d+)\s*$", block, flags=re.MULTILINE)
        kinds |= dict.fromkeys(map(int, cpus), name)
        for_all = for_all if cpus else name or for_all
    return {cpu: kind or for_all or "unknown" for cpu, kind in kinds.items()}


@cache
def _part_names() -> dict[tuple[str, str], str]:
    with CPU_PARTS.open(encoding="utf-8", newline="") as file:
        return {(row["implementer"], row["part"]): row["name"] for row in csv.DictReader(file)}


def per_degree(value: int) -> int:
    """How many of a thermal zone's units a degree Celsius is, as the size of its value tells.

    sysfs documents millidegrees; some drivers write whole degrees or tenths.
    """
    return 1000 if abs(value) >= 1000 else 10 if abs(value) > PLAUSIBLE_CELSIUS[1] else 1


def parse_temperatures(thermal: str) -> dict[str, float]:
    """Zone -> degrees Celsius, from lines "VALUE TYPE"; what is no temperature is left out."""
    celsius: dict[str, float] = {}
    for line in thermal.splitlines():
        value, _, zone = line.partition(" ")
        if not re.fullmatch(r"-?\d+", value) or not zone or NO_TEMPERATURE.fullmatch(zone):
            continue
        degrees = int(value) / per_degree(int(value))
        if degrees != 0 and PLAUSIBLE_CELSIUS[0] <= degrees <= PLAUSIBLE_CELSIUS[1]:  # an absent sensor reads 0
            name = zone if zone not in celsius else f"{zone} {Counter(z.split()[0] for z in celsius)[zone] + 1}"
            celsius[name] = degrees
    return celsius


def parse_battery(text: str) -> Battery:
    """From `dumpsys battery`, and where an app may not ask it, from sysfs."""
    # Anchored at both ends of the key: Android 15 has "Capacity level:", vendors have "Charger voltage :".
    dumpsys = dict(re.findall(r"^\s*(level|status|temperature): (-?\d+)\s*$", text, flags=re.MULTILINE))
    if "UPDATES STOPPED" in text:
        dumpsys = {}  # values that somebody set by hand
    sysfs = dict(re.findall(r"^sysfs (\w+) (.+?)\s*$", text, flags=re.MULTILINE))
    level = _plausible(dumpsys.get("level", sysfs.get("capacity")), (0, 100))
    tenths = _plausible(dumpsys.get("temperature", sysfs.get("temp")), tuple(10 * end for end in PLAUSIBLE_CELSIUS))
    charging: bool | None = None
    if "status" in dumpsys:
        charging = dumpsys["status"] in ("2", "5")  # BatteryManager: charging, full
    elif "status" in sysfs:
        charging = sysfs["status"] in ("Charging", "Full")
    return Battery(level_percent=level, celsius=None if tenths is None else tenths / 10, charging=charging)


def _plausible(text: str | None, between: tuple[float, ...]) -> int | None:
    """The number, unless it is none or one that means "unknown" (-1, INT_MIN)."""
    if text is None or not re.fullmatch(r"-?\d+", text) or not between[0] <= int(text) <= between[1]:
        return None
    return int(text)


def _host_model(cpuinfo: str) -> str:
    """A workstation's CPU, for `local:`."""
    name = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)
    return name[1].strip() if name else ""
