"""The phone filter: the phones that a plan file, or one of its `for` tables, applies to."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from smoothdroid.device.info.cpu import HWCAPS
from smoothdroid.device.info.phone import Phone
from smoothdroid.host.common.suggest import did_you_mean

SOLD_GIB = (1, 2, 3, 4, 6, 8, 10, 12, 16, 18, 24, 32)
"""Sizes of memory, in GiB, that phones are sold with. The kernel reports less, because it reserves a part."""

ISA = {"dotprod": "asimddp", "fp16": "asimdhp", **{name: name for name in HWCAPS}}
"""The name of each extension in a plan, and its name in /proc/cpuinfo."""

_RAM = re.compile(r"(>=|<) *(\d{1,3}) *GiB", re.ASCII)


def several(value: Any) -> Any:  # noqa: ANN401 (whatever TOML holds)
    """Return a single text as a list of one text, anything else as it is."""
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(several)]


class PhoneFilter(BaseModel):
    """A filter of phones; a key left out fits every phone. One item of a list must fit; of `isa`, all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phone: Texts = Field(default_factory=list)
    """The phone's name in the inventory, its target as in `--on`, or its id."""
    label: Texts = Field(default_factory=list)
    """The phone's labels in the inventory."""
    model: Texts = Field(default_factory=list)
    """The phone's model; `*` as in a shell: `Google Pixel *`."""
    soc: Texts = Field(default_factory=list)
    isa: Texts = Field(default_factory=list)
    """Extensions that every CPU has: `i8mm`, `dotprod` ..."""
    ram: str = ""
    """The memory that the phone is sold with: `>= 8 GiB`, `< 8 GiB`."""

    @field_validator("isa")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if unknown := [name for name in names if name not in ISA]:
            raise ValueError(f"unknown extension `{unknown[0]}`; {did_you_mean(unknown[0], ISA)}")
        return names

    @field_validator("ram")
    @classmethod
    def _compares(cls, text: str) -> str:
        if text and not _RAM.fullmatch(text):
            raise ValueError(f"`{text}` is not a size: write `>= 8 GiB` or `< 8 GiB`")
        return text

    def fits(self, phone: Phone, names: Collection[str], labels: Collection[str] = ()) -> bool:
        """Return True for a phone that fits; `names` are all names that a plan may call it by."""
        return (
            _one_of(self.phone, {*names, phone.id})
            and _one_of(self.label, labels)
            and (not self.model or any(fnmatchcase(phone.model, pattern) for pattern in self.model))
            and _one_of(self.soc, [phone.soc])
            and {ISA[name] for name in self.isa} <= set(phone.features)
            and self._has_ram(phone)
        )

    def _has_ram(self, phone: Phone) -> bool:
        if not (match := _RAM.fullmatch(self.ram)):
            return True
        enough = sold_gib(phone.memory_mb) >= int(match[2])
        return enough if match[1] == ">=" else not enough


def sold_gib(memory_mb: int) -> int:
    """Return the memory in GiB that a phone is sold with, from the MiB that its kernel reports."""
    return next((size for size in SOLD_GIB if memory_mb <= size << 10), memory_mb >> 10)


def _one_of(wanted: Collection[str], has: Collection[str]) -> bool:
    return not wanted or not set(wanted).isdisjoint(has)
