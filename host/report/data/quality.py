"""The quality of evaluated models: perplexity and KLD to the reference, each with an interval over windows.

The unit is the window, not the token: the tokens of a window share their subject and their context, so their KLDs rise
and fall together. An interval over tokens, as if each were an independent sample, would be too narrow: by a factor of
2.7 on SmolLM2-135M as Q8_0 over 16 windows of 512 (llama-perplexity's ± is of that kind).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from smoothdroid.host.model.evaluate.record import Candidate, Evaluation, Model
from smoothdroid.host.report.data.paired import ratio
from smoothdroid.host.results.statistics import CONFIDENCE, Interval, interval

TAIL = 0.99
RESAMPLES = 2000
"""Resamples of the bootstrap: the ends of an interval are then stable to about a twentieth of its width."""

SEED = 0
"""The bootstrap's seed: the same evaluation gives the same table."""

Windows = Sequence[Sequence[float]] | np.ndarray[Any, Any]
"""Values of tokens: [windows][tokens]."""


@dataclass(frozen=True)
class Distance:
    """A candidate's distance from the reference."""

    perplexity_ratio: Interval
    """Perplexity over the reference's, over pairs of windows: far more precise than either perplexity."""
    kld: Interval
    """Mean KLD in nats."""
    kld_tail: Interval
    """The percentile TAIL of the tokens' KLD in nats."""
    same_top: Interval
    """Share of tokens whose most likely token is the reference's too, from 0 to 1."""


@dataclass(frozen=True)
class KldComparison:
    """A candidate's mean KLD over that of a baseline."""

    model: str
    baseline: str
    kld_ratio: Interval

    @property
    def significant(self) -> bool:
        """True if the interval excludes 1."""
        return not self.kld_ratio.low <= 1 <= self.kld_ratio.high

    def __str__(self) -> str:
        """Return the comparison as a sentence."""
        ratio = self.kld_ratio
        share = f"{ratio.mean:.3f} of {self.baseline}'s ({CONFIDENCE:.0%} interval {ratio.low:.3f} to {ratio.high:.3f})"
        verdict = "" if self.significant else "no significant difference; "
        return f"{self.model}: {verdict}its mean KLD is {share}"


@dataclass(frozen=True)
class QualityRow:
    """One model of an evaluation, as tables and figures show it."""

    model: Model
    perplexity: Interval
    distance: Distance | None
    """None for the reference."""
    comparison: KldComparison | None
    """Compared with the first candidate; None for it, for the reference, and where the first candidate has no KLD."""


@dataclass(frozen=True)
class Quality:
    """An evaluation with its rows, which are expensive (a bootstrap) and therefore computed once."""

    evaluation: Evaluation

    @cached_property
    def rows(self) -> list[QualityRow]:
        """The reference, then the candidates in their order."""
        return quality_rows(self.evaluation)

    @property
    def name(self) -> str:
        """The name of the evaluation's files, without suffix: quality-ID."""
        return f"quality-{self.evaluation.id}"

    @property
    def conditions(self) -> str:
        """The conditions that the figures hold for: text, number of windows, kernels."""
        evaluation = self.evaluation
        reference = f" (reference: {evaluation.reference_kernels})" if evaluation.reference_kernels else ""
        return (
            f"{evaluation.windows} windows of {evaluation.context} tokens of {evaluation.text}; "
            f"kernels: {evaluation.kernels}{reference}. "
            f"±: half of the {CONFIDENCE:.0%} interval over windows."
        )

    @property
    def verdicts(self) -> list[str]:
        """A sentence for each candidate that is compared with the first one."""
        return [str(row.comparison) for row in self.rows if row.comparison]

    def verdict(self, baseline: str, model: str) -> str:
        """Compare two candidates, named by their hashes, in a sentence; empty where the baseline has no KLD."""
        candidates = {candidate.model.sha256: candidate for candidate in self.evaluation.candidates}
        comparison = _compare(candidates[model], candidates[baseline])
        return str(comparison) if comparison else ""


def quality_rows(evaluation: Evaluation) -> list[QualityRow]:
    """Compute a row for the reference and for each candidate, in their order."""
    first = evaluation.candidates[0]
    rows = [QualityRow(evaluation.reference, _perplexity(evaluation.reference_nll), None, None)]
    for candidate in evaluation.candidates:
        comparison = None if candidate is first else _compare(candidate, first)
        rows.append(
            QualityRow(candidate.model, _perplexity(candidate.nll), _distance(candidate, evaluation), comparison)
        )
    return rows


def as_facts(quality: Quality) -> dict[str, Any]:
    """Return an evaluation's rows for JSON; values that are not finite, which JSON lacks, become null."""
    evaluation = quality.evaluation
    return {
        "id": evaluation.id,
        "text": evaluation.text,
        "text_sha256": evaluation.text_sha256,
        "context": evaluation.context,
        "windows": evaluation.windows,
        "kernels": evaluation.kernels,
        "reference_kernels": evaluation.reference_kernels or evaluation.kernels,
        "confidence": CONFIDENCE,
        "models": [_row_facts(row) for row in quality.rows],
    }


def _row_facts(row: QualityRow) -> dict[str, Any]:
    facts: dict[str, Any] = {**row.model.model_dump(), "perplexity": _interval_facts(row.perplexity)}
    if row.distance:
        facts["perplexity_ratio"] = _interval_facts(row.distance.perplexity_ratio)
        facts["mean_kld"] = _interval_facts(row.distance.kld)
        facts["kld_99"] = _interval_facts(row.distance.kld_tail)
        facts["same_top"] = _interval_facts(row.distance.same_top)
    if row.comparison:
        facts["kld_ratio"] = {
            "baseline": row.comparison.baseline,
            **_interval_facts(row.comparison.kld_ratio),
            "significant": row.comparison.significant,
            "verdict": str(row.comparison),
        }
    return facts


def _interval_facts(known: Interval) -> dict[str, float | None]:
    values = {"value": known.mean, "low": known.low, "high": known.high}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _perplexity(nll: Windows) -> Interval:
    logarithm = interval(_per_window(nll))
    return Interval(math.exp(logarithm.mean), math.exp(logarithm.low), math.exp(logarithm.high), logarithm.n)


def _distance(candidate: Candidate, evaluation: Evaluation) -> Distance:
    return Distance(
        perplexity_ratio=_perplexity(np.asarray(candidate.nll) - np.asarray(evaluation.reference_nll)),
        kld=interval(_per_window(candidate.kld)),
        kld_tail=_tail(np.asarray(candidate.kld)),
        same_top=_clipped(interval(_per_window(candidate.same_top)), 0, 1),
    )


def _compare(candidate: Candidate, baseline: Candidate) -> KldComparison | None:
    over, under = _per_window(candidate.kld), _per_window(baseline.kld)
    return KldComparison(candidate.model.name, baseline.model.name, ratio(over, under)) if any(under) else None


def _per_window(values: Windows) -> list[float]:
    """Return the mean of each window; all windows have as many tokens, so their mean is that of all tokens."""
    return [float(np.mean(window)) for window in values]


def _tail(kld: np.ndarray[Any, Any]) -> Interval:
    """Return the percentile TAIL of `kld` [windows, tokens], with a percentile bootstrap over whole windows."""
    n = len(kld)
    draws = np.random.default_rng(SEED).integers(0, n, (RESAMPLES, n))
    resampled = [np.quantile(kld[draw], TAIL) for draw in draws]
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(np.quantile(kld, TAIL)), float(low), float(high), n)


def _clipped(known: Interval, least: float, most: float) -> Interval:
    return Interval(known.mean, max(least, known.low), min(most, known.high), known.n)
