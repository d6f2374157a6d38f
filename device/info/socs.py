"""Phone SoCs: the peak bandwidth of their memory and the peak throughput of their cores, from public sources."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SOCS = Path(__file__).with_name("data") / "socs.toml"
CORES = Path(__file__).with_name("data") / "cores.toml"

CACHES_MB = 64
"""An upper limit of a phone's caches: fewer bytes need not be read from DRAM for each token."""

OPERATIONS = {"f32": 8, "f16": 16, "dotprod": 32, "i8mm": 64}
"""The multiplications and additions of one vector instruction of 128 bits, by operand type: 4 floats, 8 halves, or
8-bit integers in sums of four (SDOT) or in two rows times two columns of eight (SMMLA)."""


@dataclass(frozen=True)
class Core:
    """A kind of core: one row of cores.toml."""

    name: str
    pipes: int
    """The vector operations of 128 bits in a cycle."""
    int8: str
    """The widest instruction for 8-bit integers: dotprod or i8mm."""
    source: str


@dataclass(frozen=True)
class CoresOfASoc:
    """The cores of a SoC of one kind and clock."""

    core: Core
    cores: int
    ghz: float
    """The highest clock."""


@dataclass(frozen=True)
class Soc:
    """A SoC: one row of socs.toml."""

    name: str
    """The marketing name."""
    codes: tuple[str, ...]
    """The names that phones report."""
    peak_gb_s: float
    """The peak bandwidth in 10^9 bytes a second: transfer rate times bus width; no access pattern reaches it."""
    dram: str
    dram_source: str
    clusters: tuple[CoresOfASoc, ...] = ()
    """Empty where no source describes all cores."""
    clusters_source: str = ""

    def decode_ceiling(self, bytes_per_token: int) -> float | None:
        """Return the tokens/s that the DRAM allows at most; None where the caches may hold the bytes of a token."""
        return self.peak_gb_s * 1e9 / bytes_per_token if bytes_per_token >= CACHES_MB * 1e6 else None

    def operations_per_s(self, kind: str) -> float | None:
        """Return the multiplications and additions a second of all cores at their highest clock; None where unknown.

        `kind` is int8, f16 or f32. llama.cpp runs one build on all cores, so the least capable core decides which
        instruction multiplies integers.
        """
        if not self.clusters:
            return None
        if kind == "int8":
            kind = min((cluster.core.int8 for cluster in self.clusters), key=lambda name: OPERATIONS[name])
        return sum(part.cores * part.ghz * 1e9 * part.core.pipes * OPERATIONS[kind] for part in self.clusters)


def find(soc: str) -> Soc | None:
    """Return the row for the SoC name that a phone reports; None where the SoC is unknown.

    A bin of a chip has the chip's memory: `SM8550-AC` and `SM8550P` are `SM8550`.
    """
    name = _plain(soc)
    rows = _by_code()
    bin_of = re.match(r"(sm\d{4}|mt\d{4}|s5e\d{4})", name)
    return rows.get(name) or (rows.get(bin_of[1]) if bin_of else None)


def named(soc: str) -> Soc | None:
    """Return the row for a SoC name of a phone or a person: `SM8550`, `Snapdragon 8 Gen 2`, `8 gen 2`."""
    name = _plain(soc)
    names = {_plain(row.name): row for row in everything()}
    ends = [row for full, row in names.items() if name and full.endswith(name)]
    return find(soc) or names.get(name) or (ends[0] if len(ends) == 1 else None)


@cache
def everything() -> tuple[Soc, ...]:
    """Return all rows, in the order of the file."""
    cores = {row["name"]: Core(**row) for row in tomllib.loads(CORES.read_text(encoding="utf-8"))["core"]}
    return tuple(_soc(row, cores) for row in tomllib.loads(SOCS.read_text(encoding="utf-8"))["soc"])


def _soc(row: dict[str, Any], cores: Mapping[str, Core]) -> Soc:
    clusters = tuple(CoresOfASoc(cores[part["name"]], part["cores"], part["ghz"]) for part in row.get("clusters", ()))
    return Soc(**{**row, "codes": tuple(row["codes"]), "clusters": clusters})


@cache
def _by_code() -> dict[str, Soc]:
    return {_plain(code): row for row in everything() for code in row.codes}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
