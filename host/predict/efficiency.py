"""How much of a SoC's peak llama.cpp reaches, as published measurements have it.

A published speed over what the peak allows is an efficiency: for decode of the DRAM's bandwidth, for prefill of the
cores' arithmetic. Their logarithms are taken as draws from one normal distribution. The middle is its mean, and the
interval is Student's for one more draw (mean ± t · s · sqrt(1 + 1/n)): it holds a speed, not the mean of many.

Its weakness: the draws come from very few phones, and those of one phone resemble each other, so the interval is
rather too narrow for a phone of another make. `left_out` says by how much the middle misses when a point, or all points
of a phone, are not fitted on.
"""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from scipy import stats

from smoothdroid.device.info import socs
from smoothdroid.device.info.socs import Soc
from smoothdroid.host.predict import work
from smoothdroid.host.predict.work import Work

PUBLISHED = Path(__file__).with_name("published.toml")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Published:
    """One row of published.toml, with what was to be read and computed for it."""

    phone: str
    soc: Soc
    work: Work
    threads: int
    prefill: float
    decode: float
    source: str

    @property
    def decode_efficiency(self) -> float:
        """Share of the DRAM's peak."""
        return self.decode * self.work.weights_bytes / (self.soc.peak_gb_s * 1e9)

    @property
    def prefill_efficiency(self) -> float:
        """Share of the cores' peak."""
        peak = self.soc.operations_per_s(self.work.kind)
        if peak is None or self.work.operations is None:
            raise ValueError(f"the cores of {self.soc.name} are not in the table")
        return self.prefill * self.work.operations / peak


@dataclass(frozen=True)
class Efficiency:
    """Share of a peak: the middle, and the interval for one more phone and model."""

    middle: float
    low: float
    high: float
    """Above 1 there is nothing: a peak is a ceiling."""
    n: int


@dataclass(frozen=True)
class Fitted:
    """Both, and what they were fitted on."""

    decode: Efficiency
    prefill: Efficiency
    points: tuple[Published, ...]

    @property
    def phones(self) -> int:
        """How many phones the points come from."""
        return len({point.phone for point in self.points})


@cache
def published() -> tuple[Published, ...]:
    """All rows, in the order of the file."""
    return tuple(_row(**row) for row in tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["measured"])


@cache
def fitted() -> Fitted:
    """On all that was published."""
    points = published()
    return Fitted(
        fit([point.decode_efficiency for point in points]), fit([point.prefill_efficiency for point in points]), points
    )


def fit(shares: Sequence[float]) -> Efficiency:
    """Of at least two shares of a peak. Raises ValueError for fewer."""
    if len(shares) < 2:
        raise ValueError("an interval takes two points at least")
    logarithms = [math.log(share) for share in shares]
    n, middle = len(logarithms), statistics.fmean(logarithms)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * statistics.stdev(logarithms) * math.sqrt(1 + 1 / n)
    return Efficiency(math.exp(middle), math.exp(middle - half), min(1.0, math.exp(middle + half)), n)


def left_out(shares: Sequence[float], groups: Sequence[str]) -> list[float]:
    """For each share: itself over the middle of all that are not of its group."""
    missed = []
    for share, group in zip(shares, groups, strict=True):
        others = [math.log(other) for other, its in zip(shares, groups, strict=True) if its != group]
        missed.append(share / math.exp(statistics.fmean(others)))
    return missed


def _row(
    phone: str,
    soc: str,
    model: str,
    type: str,
    threads: int,
    prefill: float,
    decode: float,
    source: str,
    weights_bytes: int | None = None,
) -> Published:
    found = socs.find(soc)
    if found is None:
        raise ValueError(f"{PUBLISHED}: {soc} is not in {socs.SOCS}")
    asked = work.of(model, type)
    asked = replace(asked, weights_bytes=weights_bytes or asked.weights_bytes)
    return Published(phone, found, asked, threads, prefill, decode, source)
