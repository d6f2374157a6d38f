"""Profiles of emulated phones: one real phone's facts in a TOML file of device/virtual/profiles/."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError, field_validator
from pydantic import model_validator as check_whole

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.record import Record

EMULATED = "smoothdroid.emulated"
"""The property that only an emulated phone has."""

PROFILES = Path(__file__).with_name("profiles")

Line = Annotated[str, StringConstraints(pattern=r"^[^\n]*$")]
"""A value that is written to one line of a file on the phone."""


class CpuInfo(Record):
    """The lines that all blocks of /proc/cpuinfo share."""

    bogomips: Line
    features: Line


class ClusterFacts(Record):
    """The CPUs of one kind that share a clock."""

    cpus: Annotated[str, StringConstraints(pattern=r"^\d+(-\d+)?$")]
    implementer: int
    variant: int
    part: int
    revision: int
    frequencies_khz: list[int] = Field(min_length=1)
    governor: Line

    @property
    def numbers(self) -> range:
        """The numbers of the CPUs: "4-7" is 4, 5, 6, 7."""
        first, _, last = self.cpus.partition("-")
        return range(int(first), int(last or first) + 1)


class Memory(Record):
    """The phone's memory, as /proc/meminfo has it."""

    total_kb: int = Field(gt=0)
    available_kb: int = Field(gt=0)


class ThermalZone(Record):
    """A thermal zone, in sysfs and in Android's service."""

    type: Line
    millicelsius: int
    hal_type: int
    """The mType in `dumpsys thermalservice`: 0 CPU, 1 GPU, 2 battery, 3 skin, 9 NPU, -1 other."""


class BatteryFacts(Record):
    """The battery in sysfs: units as in the names, the current with the sign that the phone uses."""

    status: Annotated[str, StringConstraints(pattern=r"^(Charging|Discharging|Not charging|Full|Unknown)$")]
    level_percent: int = Field(ge=0, le=100)
    temperature_decicelsius: int
    voltage_uv: int
    current_ua: int
    charge_counter_uah: int
    technology: Line


class Profile(Record):
    """The facts of one real phone."""

    name: Line
    model: Line
    qemu_cpu: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.,=-]+$")]
    """The value of QEMU_CPU, for arm64 binaries."""
    cpuinfo: CpuInfo
    cluster: list[ClusterFacts] = Field(min_length=1)
    memory: Memory
    thermal_zone: list[ThermalZone]
    battery: BatteryFacts
    properties: dict[str, Line]

    @field_validator("properties")
    @classmethod
    def _names_are_plain(cls, properties: dict[str, str]) -> dict[str, str]:
        # Properties are stored as name=value lines.
        for name in properties:
            if "=" in name or "\n" in name:
                raise ValueError(f"a property's name cannot hold '=' or a line break: {name!r}")
        return properties

    @check_whole(mode="after")
    def _each_cpu_once(self) -> Profile:
        numbers = sorted(number for cluster in self.cluster for number in cluster.numbers)
        if numbers != list(range(len(numbers))):
            raise ValueError(f"the clusters must hold each CPU from 0 on once; they hold {numbers}")
        return self


def profiles() -> list[str]:
    """List the names of the profiles that come with smoothdroid."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load(name: str) -> Profile:
    """Load a profile by its name, or by the path of a TOML file.

    Raises BadInput when there is no profile by that name, or when the file is not a profile.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in profiles():
            raise BadInput(
                f"no profile is called {name!r}; there are: {', '.join(profiles())}. "
                "A path to a .toml file of your own works too"
            )
        path = PROFILES / f"{name}.toml"
    try:
        return Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise BadInput(f"{path}: not a profile:\n{faults}") from error
