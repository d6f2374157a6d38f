"""Which phones a plan, or a part of it, is for."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from smoothdroid.device.info.phone import HWCAPS, Phone

SOLD_GIB = (1, 2, 3, 4, 6, 8, 10, 12, 16, 18, 24, 32)
"""Sizes of memory that phones are sold with. The kernel keeps a part for itself and tells of the rest."""

ISA = {"dotprod": "asimddp", "fp16": "asimdhp", **{word: word for word in HWCAPS}}
"""What a user calls an extension -> what /proc/cpuinfo calls it."""

_RAM = re.compile(r"(>=|<) *(\d{1,3}) *GiB", re.ASCII)


def several(value: Any) -> Any:  # noqa: ANN401 (whatever TOML holds)
    """`"x"` is as good as `["x"]`."""
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(several)]


class PhoneFilter(BaseModel):
    """A kind of phone; what is left out fits every phone. Of a list, one must fit; of `isa`, all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phone: Texts = Field(default_factory=list)
    """Its name: in the inventory, or as `--on` names it; or its id."""
    label: Texts = Field(default_factory=list)
    """Of the inventory."""
    model: Texts = Field(default_factory=list)
    """`Google Pixel *`, as in a shell."""
    soc: Texts = Field(default_factory=list)
    isa: Texts = Field(default_factory=list)
    """What every CPU has: `i8mm`, `dotprod` ..."""
    ram: str = ""
    """As the phone is sold: `>= 8 GiB`, `< 8 GiB`."""

    @field_validator("isa")
    @classmethod
    def _known(cls, words: list[str]) -> list[str]:
        if unknown := [word for word in words if word not in ISA]:
            raise ValueError(f"`{unknown[0]}` is none of {', '.join(ISA)}")
        return words

    @field_validator("ram")
    @classmethod
    def _compares(cls, text: str) -> str:
        if text and not _RAM.fullmatch(text):
            raise ValueError(f"`{text}` is no size: write `>= 8 GiB` or `< 8 GiB`")
        return text

    def fits(self, phone: Phone, names: Collection[str], labels: Collection[str] = ()) -> bool:
        """Whether a phone, known by `names`, is of this kind."""
        return (
            _one_of(self.phone, {*names, phone.id})
            and _one_of(self.label, labels)
            and (not self.model or any(fnmatchcase(phone.model, pattern) for pattern in self.model))
            and _one_of(self.soc, [phone.soc])
            and {ISA[word] for word in self.isa} <= set(phone.features)
            and self._has_ram(phone)
        )

    def _has_ram(self, phone: Phone) -> bool:
        if not (match := _RAM.fullmatch(self.ram)):
            return True
        enough = sold_gib(phone.memory_mb) >= int(match[2])
        return enough if match[1] == ">=" else not enough


def sold_gib(memory_mb: int) -> int:
    """The size that a phone was sold with, from what its kernel tells."""
    return next((size for size in SOLD_GIB if memory_mb <= size << 10), memory_mb >> 10)


def _one_of(asked: Collection[str], has: Collection[str]) -> bool:
    return not asked or not set(asked).isdisjoint(has)
