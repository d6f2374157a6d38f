"""What the memory of a phone's SoC can deliver at most."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOCS = Path(__file__).with_name("socs.toml")


@dataclass(frozen=True)
class Soc:
    """One row of socs.toml."""

    name: str
    """As people call it."""
    peak_gb_s: float
    """10^9 bytes a second: transfers a second times the width of the bus; no access pattern reaches it."""
    dram: str
    source: str


def find(soc: str) -> Soc | None:
    """The row for what a phone calls its SoC, or None where its memory is not known.

    A bin of a chip has its memory: `SM8550-AC` and `SM8550P` are `SM8550`.
    """
    asked = _plain(soc)
    rows = _rows()
    bin_of = re.match(r"(sm\d{4}|mt\d{4}|s5e\d{4})", asked)
    return rows.get(asked) or (rows.get(bin_of[1]) if bin_of else None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _rows() -> dict[str, Soc]:
    table = tomllib.loads(SOCS.read_text())["soc"]
    return {
        _plain(code): Soc(row["name"], row["peak_gb_s"], row["dram"], row["source"])
        for row in table
        for code in row["codes"]
    }
