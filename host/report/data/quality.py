"""An evaluation -> the rows that its table and plot show, each figure with its error.

The unit is the window, not the token: the tokens of a window share their subject and their context, so that their
KLDs rise and fall together, and an interval over tokens as if each were a sample of its own would be too narrow: on
SmolLM2-135M as Q8_0 over 16 windows of 512, 2.7 times (what llama-perplexity prints after its ± is of that kind).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from smoothdroid.host.model.evaluate.record import Candidate, Evaluation, Model
from smoothdroid.host.report.data.paired import ratio
from smoothdroid.host.results.statistics import CONFIDENCE, Interval, interval

TAIL = 0.99
RESAMPLES = 2000  # of the bootstrap: its ends are then steady to about a twentieth of the interval
SEED = 0  # the same evaluation gives the same table

Windows = Sequence[Sequence[float]] | np.ndarray[Any, Any]
"""Values of tokens: [windows][tokens]."""


@dataclass(frozen=True)
class Figures:
    """A candidate's distance from the reference; KLD in nats, `same_top` from 0 to 1."""

    perplexity_ratio: Interval
    """Perplexity over the reference's, by pairs: its error is far smaller than that of either."""
    kld: Interval
    kld_tail: Interval
    """The percentile TAIL of the tokens' KLD."""
    same_top: Interval


@dataclass(frozen=True)
class Comparison:
    """A candidate's mean KLD over that of the baseline, the first candidate."""

    baseline: str
    kld_ratio: Interval

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.kld_ratio.low <= 1 <= self.kld_ratio.high


@dataclass(frozen=True)
class Row:
    """One model, as it is shown."""

    model: Model
    perplexity: Interval
    figures: Figures | None
    """None for the reference."""
    comparison: Comparison | None
    """None for the reference, for the baseline, and where the baseline does not differ from the reference at all."""


def rows(evaluation: Evaluation) -> list[Row]:
    """The reference, then the candidates in their order."""
    first = evaluation.candidates[0]
    shown = [Row(evaluation.reference, _perplexity(evaluation.reference_nll), None, None)]
    for candidate in evaluation.candidates:
        comparison = None if candidate is first else _compare(candidate, first)
        shown.append(Row(candidate.model, _perplexity(candidate.nll), _figures(candidate, evaluation), comparison))
    return shown


def against(evaluation: Evaluation, baseline: str, model: str) -> str:
    """`verdict` on the candidate with the hash `model` beside another than the first; nothing where there is none."""
    candidates = {candidate.model.sha256: candidate for candidate in evaluation.candidates}
    row = next(row for row in rows(evaluation) if row.model.sha256 == model)
    return verdict(replace(row, comparison=_compare(candidates[model], candidates[baseline])))


def verdict(row: Row) -> str:
    """What the comparison with the baseline comes to, in words; nothing where there is none."""
    if row.comparison is None:
        return ""
    found = row.comparison.kld_ratio
    how = f"{found.mean:.3f} of {row.comparison.baseline}'s ({CONFIDENCE:.0%} interval {_range(found)})"
    if not row.comparison.significant:
        return f"{row.model.name}: no significant difference; its mean KLD is {how}"
    return f"{row.model.name}: its mean KLD is {how}"


def conditions(evaluation: Evaluation) -> str:
    """What the figures hold for: a text, a number of windows, and the kernels."""
    reference = f", the reference's {evaluation.reference_kernels}" if evaluation.reference_kernels else ""
    return (
        f"{evaluation.windows} windows of {evaluation.context} tokens of {evaluation.text}; kernels: "
        f"{evaluation.kernels}{reference}. ±: half of the {CONFIDENCE:.0%} interval over windows."
    )


def as_facts(evaluation: Evaluation) -> dict[str, Any]:
    """The rows for a program to read; what is not finite, which JSON has not, becomes null."""
    return {
        "id": evaluation.id,
        "text": evaluation.text,
        "text_sha256": evaluation.text_sha256,
        "context": evaluation.context,
        "windows": evaluation.windows,
        "kernels": evaluation.kernels,
        "reference_kernels": evaluation.reference_kernels or evaluation.kernels,
        "confidence": CONFIDENCE,
        "models": [_row_facts(row) for row in rows(evaluation)],
    }


def _row_facts(row: Row) -> dict[str, Any]:
    facts: dict[str, Any] = {**row.model.model_dump(), "perplexity": _interval_facts(row.perplexity)}
    if row.figures:
        facts["perplexity_ratio"] = _interval_facts(row.figures.perplexity_ratio)
        facts["mean_kld"] = _interval_facts(row.figures.kld)
        facts["kld_99"] = _interval_facts(row.figures.kld_tail)
        facts["same_top"] = _interval_facts(row.figures.same_top)
    if row.comparison:
        facts["kld_ratio"] = {
            "baseline": row.comparison.baseline,
            **_interval_facts(row.comparison.kld_ratio),
            "significant": row.comparison.significant,
            "verdict": verdict(row),
        }
    return facts


def _interval_facts(found: Interval) -> dict[str, float | None]:
    values = {"value": found.mean, "low": found.low, "high": found.high}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _perplexity(nll: Windows) -> Interval:
    logarithm = interval(_per_window(nll))
    return Interval(math.exp(logarithm.mean), math.exp(logarithm.low), math.exp(logarithm.high), logarithm.n)


def _figures(candidate: Candidate, evaluation: Evaluation) -> Figures:
    return Figures(
        perplexity_ratio=_perplexity(np.asarray(candidate.nll) - np.asarray(evaluation.reference_nll)),
        kld=interval(_per_window(candidate.kld)),
        kld_tail=_tail(np.asarray(candidate.kld)),
        same_top=_within(interval(_per_window(candidate.same_top)), 0, 1),
    )


def _compare(candidate: Candidate, baseline: Candidate) -> Comparison | None:
    ours, theirs = _per_window(candidate.kld), _per_window(baseline.kld)
    return Comparison(baseline.model.name, ratio(ours, theirs)) if any(theirs) else None


def _per_window(values: Windows) -> list[float]:
    """The mean of each window; all windows have as many tokens, so their mean is that of all tokens."""
    return [float(np.mean(window)) for window in values]


def _tail(kld: np.ndarray[Any, Any]) -> Interval:
    """The percentile TAIL of `kld` [windows, tokens], with a percentile bootstrap over whole windows."""
    n = len(kld)
    draws = np.random.default_rng(SEED).integers(0, n, (RESAMPLES, n))
    resampled = [np.quantile(kld[draw], TAIL) for draw in draws]
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(np.quantile(kld, TAIL)), float(low), float(high), n)


def _within(found: Interval, least: float, most: float) -> Interval:
    return Interval(found.mean, max(least, found.low), min(most, found.high), found.n)


def _range(found: Interval) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"
