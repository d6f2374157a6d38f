"""The efficiency of llama.cpp: the share of a SoC's peak that published measurements reach.

An efficiency is a published speed over the speed that the peak allows: the DRAM's bandwidth for decode, the cores'
arithmetic for prefill. The logarithms of efficiencies are taken as draws from one normal distribution. The middle is
its mean, and the interval is Student's for one more draw (mean ± t · s · sqrt(1 + 1/n)): it is for a single speed, not
for the mean of many.

Its weakness: the draws come from very few phones, and those of one phone resemble each other, so the interval is
probably too narrow for a phone of another make. `left_out` computes by how much the middle misses a point when this
point, or all points of its phone, are left out of the fit.
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
    """A published measurement, a row of published.toml, with the bytes to read and the operations to compute for it."""

    phone: str
    soc: Soc
    work: Work
    threads: int
    prefill: float
    decode: float
    source: str

    @property
    def decode_efficiency(self) -> float:
        """The share of the DRAM's peak bandwidth that decode reaches."""
        return self.decode * self.work.weights_bytes / (self.soc.peak_gb_s * 1e9)

    @property
    def prefill_efficiency(self) -> float:
        """The share of the cores' peak arithmetic that prefill reaches."""
        peak = self.soc.operations_per_s(self.work.kind)
        if peak is None or self.work.operations is None:
            raise ValueError(f"the cores of {self.soc.name} are not in {socs.SOCS}")
        return self.prefill * self.work.operations / peak


@dataclass(frozen=True)
class Efficiency:
    """A share of a peak: the middle, and the interval for one more phone and model."""

    middle: float
    low: float
    high: float
    """At most 1, because the peak is a ceiling."""
    n: int


@dataclass(frozen=True)
class Fitted:
    """The efficiencies of decode and prefill, and the points that they were fitted on."""

    decode: Efficiency
    prefill: Efficiency
    points: tuple[Published, ...]

    @property
    def phones(self) -> int:
        """The number of phones that the points come from."""
        return len({point.phone for point in self.points})


@cache
def published() -> tuple[Published, ...]:
    """Return all rows, in the order of the file."""
    return tuple(_row(**row) for row in tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["measured"])


@cache
def fitted() -> Fitted:
    """Fit the efficiencies on all published measurements."""
    points = published()
    return Fitted(
        fit([point.decode_efficiency for point in points]), fit([point.prefill_efficiency for point in points]), points
    )


def fit(shares: Sequence[float]) -> Efficiency:
    """Fit an efficiency on at least two shares of a peak. Raises ValueError for fewer."""
    if len(shares) < 2:
        raise ValueError("an interval takes at least two points")
    logarithms = [math.log(share) for share in shares]
    n, middle = len(logarithms), statistics.fmean(logarithms)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * statistics.stdev(logarithms) * math.sqrt(1 + 1 / n)
    return Efficiency(math.exp(middle), math.exp(middle - half), min(1.0, math.exp(middle + half)), n)


def left_out(shares: Sequence[float], groups: Sequence[str]) -> list[float]:
    """Return each share divided by the middle of all shares that are not of its group."""
    ratios = []
    for share, group in zip(shares, groups, strict=True):
        others = [math.log(other) for other, of_other in zip(shares, groups, strict=True) if of_other != group]
        ratios.append(share / math.exp(statistics.fmean(others)))
    return ratios


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
    row = socs.find(soc)
    if row is None:
        raise ValueError(f"{PUBLISHED}: {soc} is not in {socs.SOCS}")
    known = work.of(model, type)
    known = replace(known, weights_bytes=weights_bytes or known.weights_bytes)
    return Published(phone, row, known, threads, prefill, decode, source)
