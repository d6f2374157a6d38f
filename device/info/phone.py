"""A phone's description: model, SoC, CPUs, memory, temperatures and battery, as describe.sh reads them."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.device.common.record import Record
from smoothdroid.device.info.battery import Battery, parse_battery
from smoothdroid.device.info.cpu import (
    HWCAPS,
    Cluster,
    parse_clusters,
    parse_features,
    parse_hwcaps,
    parse_lacking,
    parse_parts,
)
from smoothdroid.device.info.identity import MARK, phone_id
from smoothdroid.device.info.thermal import parse_temperatures
from smoothdroid.device.transport.target import Target
from smoothdroid.device.virtual.profile import EMULATED

DESCRIBE = Path(__file__).with_name("describe.sh")
LONGEST_LINE = 8192  # characters; a Features line has some hundred
LONGEST_ANSWER = 8 << 20  # characters; a phone's properties take 100 KB


class Phone(Record):
    """The description of a phone, or of a workstation as the target `local:`."""

    id: str
    """An id that is stable over reboots and transports: from the serial number where it can be read."""
    model: str
    soc: str
    android: str
    """Android's version, or empty where there is no Android."""
    kernel: str
    abi: str
    features: list[str]
    """The features that every CPU listed has and that the kernel's hwcaps do not deny; sorted."""
    lacking: dict[str, list[int]] = Field(default_factory=dict)
    """Features that only some of the CPUs listed have -> the CPUs that lack them."""
    withheld: list[str] = Field(default_factory=list)
    """Features that every CPU listed has, and that the kernel does not report to programs."""
    unseen_cpus: list[int] = Field(default_factory=list)
    """CPUs that /proc/cpuinfo does not list: they were off."""
    clusters: list[Cluster]
    """The clusters, fastest first."""
    cpu_count: int
    memory_mb: int
    available_mb: int
    free_mb: int
    """Free space where smoothdroid keeps its files."""
    celsius: dict[str, float]
    """Thermal zone -> temperature."""
    battery: Battery
    emulated: bool
    """Whether this is an emulated phone, whose speed means nothing."""
    bionic: bool = False
    """Whether the phone has Android's loader, which programs built by an NDK need; others must be static."""
    mark: str = ""
    """A random number that smoothdroid keeps on the phone, in its folder there."""


def describe(target: Target) -> Phone:
    """Describe a phone. Raises CommandFailed when its answer makes no sense."""
    text = target.run(["sh", "-c", DESCRIBE.read_text(encoding="utf-8"), "describe", target.root], timeout_s=60).stdout
    return parse(text, target.name, target.kind)


def parse(text: str, target: str, transport: str = "adb") -> Phone:
    """Parse the output of describe.sh. Raises CommandFailed when a section that every Linux has is missing."""
    parts = re.split(r"^==(\w+)$", _readable(text, target), flags=re.MULTILINE)
    section = {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    properties = parse_properties(section.get("getprop", ""))
    try:
        kernel_name, kernel, machine = section["uname"].split()
        memory = dict(re.findall(r"^(\w+):[ \t]+([0-9]{1,12}) kB", section["meminfo"], flags=re.MULTILINE))
        # Kernels before 3.14 have no MemAvailable.
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
    """Remove control characters and endless lines from an answer. Raises CommandFailed when it is too large."""
    if len(text) > LONGEST_ANSWER:
        raise CommandFailed(target, ["describe"], 0, stderr=f"the phone's answer has {len(text) >> 20} MiB")
    plain = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", text)
    return "\n".join(line for line in plain.split("\n") if len(line) <= LONGEST_LINE)


def _kilobytes(text: str) -> int:
    """Parse a size in kB. Raises ValueError for other text."""
    if not re.fullmatch("[0-9]{1,12}", text):
        raise ValueError(f"a size in kB: df reports {text[:40]!r}")
    return int(text)


def parse_properties(getprop: str) -> dict[str, str]:
    """Parse Android's properties, without those whose value has several lines."""
    lines = (line[1:-1].partition("]: [") for line in getprop.split("\n") if line[:1] == "[" and line[-1:] == "]")
    return {name: value for name, found, value in lines if found}


def _host_model(cpuinfo: str) -> str:
    """Return the name of a workstation's CPU, for `local:`."""
    name = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)
    return name[1].strip() if name else ""
