"""Differences between two sides of many cells: ratios, adjusted p-values, answers, regressions.

The values of a cell are the mean rates of its processes. Processes of one round of a campaign are interleaved, so they
are compared in pairs; processes of different campaigns are independent and are compared by Welch's t test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smoothdroid.host.results.judged_cells import Judged
from smoothdroid.host.results.statistics import Answer, Comparison, compare, compare_paired, holm

Processes = Mapping[tuple[str, int], float]
"""Mean tokens/s of each process of a cell, by its campaign and its round there."""


@dataclass(frozen=True)
class Difference:
    """One cell of side B against the same cell of side A."""

    a: list[float]
    """Process means that were compared; `a[i]` and `b[i]` are a pair where `paired`."""
    b: list[float]
    paired: bool
    """True if each process is compared with the one of its own round."""
    left_out: int
    """Processes without a counterpart in their round."""
    one_campaign: bool
    """True if some campaign measured both sides."""
    comparison: Comparison
    """The ratio of B over A with its own interval and p-value."""
    p_value: float
    """Adjusted for all cells of the comparison; NaN where there is a single process or pair."""
    threshold: float
    """The tolerated slowdown as a share."""

    @property
    def n(self) -> int:
        """Number of pairs; without pairs, processes of the side that has fewer."""
        return self.comparison.ratio.n

    @property
    def answer(self) -> Answer:
        """The answer, faster or slower or not significant, with 5 % for a wrong answer anywhere among the cells."""
        return self.comparison.answer(self.p_value)

    @property
    def regression(self) -> bool:
        """True if B is significantly slower and its estimated slowdown exceeds the threshold."""
        return self.answer == "slower" and self.comparison.ratio.mean < 1 - self.threshold


def processes(judged: Judged, campaign: str) -> Processes:
    """Return the processes of a cell that count; `campaign` is any unique name of its campaign."""
    return {(campaign, run.round): run.mean for run in judged.counted}


def differences(cells: Sequence[tuple[Processes, Processes]], threshold: float) -> list[Difference]:
    """Compare side B of each cell with side A, with Holm's adjustment over all cells.

    Sides that share a round of a campaign are compared in pairs, other sides by Welch's t test. Raises ValueError when
    a side has no process, or one whose mean is no rate.
    """
    chosen = [_paired(a, b) or (list(a.values()), list(b.values()), False) for a, b in cells]
    compared = [compare_paired(a, b) if paired else compare(a, b) for a, b, paired in chosen]
    adjusted = holm([comparison.p_value for comparison in compared])
    return [
        Difference(
            *values,
            left_out=len(a) + len(b) - 2 * len(values[0]) if values[2] else 0,
            one_campaign=bool({campaign for campaign, _ in a} & {campaign for campaign, _ in b}),
            comparison=comparison,
            p_value=p_value,
            threshold=threshold,
        )
        for (a, b), values, comparison, p_value in zip(cells, chosen, compared, adjusted, strict=True)
    ]


def _paired(a: Processes, b: Processes) -> tuple[list[float], list[float], bool] | None:
    """Return the means of the rounds that both sides have; None where there is no such round."""
    common = [process for process in a if process in b]
    return ([a[process] for process in common], [b[process] for process in common], True) if common else None
