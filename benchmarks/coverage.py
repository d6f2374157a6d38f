"""The coverage of intervals, and the error rates of verdicts and comparisons, on simulated rates.

    python -m benchmarks.coverage [--draws 4000] [--seed 1]
    python -m benchmarks.coverage --docs     # write the table into docs/explanation/validity.md, too

Tokens/s are drawn for cells whose true rate is known, recorded as runs, and then judged, compared and scheduled by the
code that does so for real ones. No phone is involved. A repetition is the true rate times (1 + process + noise).
`process` is normal with a standard deviation b of 0 to 3 %, one value for each process. `noise` has a standard
deviation of 1 %: normal (iid), gamma of shape 4 with its long tail towards slow (skewed), or normal and correlated by
0.6 from one repetition to the next (AR(1)). Each cell has five processes and each process two repetitions, as by
default, unless stated.

Last come the figures, a JSON object a line, each a share of draws. Where a figure is the worst of several conditions,
its interval (Wilson, 95 %) is that condition's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from smoothdroid.host.bench.schedule import Order, due
from smoothdroid.host.compare.difference import Difference, differences
from smoothdroid.host.compare.difference import processes as means_by_round
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.judged_cells import Judged, judge_all
from smoothdroid.host.results.record import Campaign, Run, read_campaign, read_runs
from smoothdroid.host.results.statistics import fastest, interval

TEMPLATE = Path(__file__).parents[1] / "tests/data/campaign"
DOCS = Path(__file__).parents[1] / "docs/explanation/validity.md"
TRUE_RATE = 10.0
NOISE = 0.01
BETWEEN = (0.0, 0.005, 0.01, 0.02, 0.03)
USUAL = 0.01  # between processes, where one figure stands for all
PROCESSES, REPETITIONS = 5, 2
FAMILY = 24
SETTINGS = (4, 8, 16)
NOWHERE = Path("/nonexistent")  # no samples: only the rates are judged

Rates = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""Tokens/s by cell, process and repetition."""
Shape = Callable[[np.random.Generator, tuple[int, ...]], Rates]


@dataclass(frozen=True)
class Share:
    """The share of draws that have a property."""

    found: int
    draws: int
    condition: str = ""

    @property
    def value(self) -> float:
        """The share itself."""
        return self.found / self.draws


def normal(random: np.random.Generator, size: tuple[int, ...]) -> Rates:
    """Return independent normal noise of standard deviation 1."""
    return random.standard_normal(size)


def skewed(random: np.random.Generator, size: tuple[int, ...]) -> Rates:
    """Return independent noise of standard deviation 1 and skewness -1: rarely, a repetition is much slower."""
    return (4 - random.gamma(4, 1, size)) / 2


def correlated(random: np.random.Generator, size: tuple[int, ...]) -> Rates:
    """Return normal noise of standard deviation 1 whose correlation with the previous repetition is 0.6."""
    noise = random.standard_normal(size)
    for index in range(1, size[-1]):
        noise[..., index] = 0.6 * noise[..., index - 1] + 0.8 * noise[..., index]
    return noise


def exponential(random: np.random.Generator, size: tuple[int, ...]) -> Rates:
    """Return independent noise of standard deviation 1 and skewness -2, which is harder than the goals assume."""
    return 1 - random.exponential(1, size)


AIMED_AT: Mapping[str, Shape] = {"iid": normal, "skewed": skewed, "AR(1) 0.6": correlated}
SHAPES: Mapping[str, Shape] = {**AIMED_AT, "exponential": exponential}
CONDITIONS = [(shape, between) for shape in AIMED_AT for between in BETWEEN]


class Drawn:
    """Cells with simulated rates, in a campaign whose other facts are those of a real one."""

    def __init__(self, cells: int, protocol: Protocol) -> None:
        """Read the campaign whose facts the simulated cells share."""
        known = read_campaign(TEMPLATE)
        self._template = next(run for run in read_runs(TEMPLATE) if run.bench and run.cell.test.n_gen)
        plan = known.plan.model_copy(
            update={
                "models": known.plan.models[:1],
                "tests": [Test(n_gen=64)],
                "threads": [4],
                "masks": [()],
                # Cells that differ in their depth alone are not each other's neighbours.
                "options": [Options(depth=depth) for depth in range(cells)],
                "protocol": protocol,
            }
        )
        self.campaign: Campaign = known.model_copy(update={"plan": plan})
        self.cells = list(plan.cells())
        where = self.campaign.phone.id, self.campaign.transport, self.campaign.build_id
        self.names = {cell: cell.fingerprint(*where) for cell in self.cells}

    def run(self, cell: Cell, number: int, rates: Sequence[float]) -> Run:
        """Return one process of a cell."""
        facts = {"cell": cell, "fingerprint": self.names[cell], "round": number, "tokens_per_s": list(rates)}
        return self._template.model_copy(update={**facts, "bench": None, "wall_s": 10.0})

    def judged(self, rates: Rates) -> list[Judged]:
        """Evaluate the cells with these rates."""
        processes = [
            self.run(cell, number, [float(rate) for rate in process])
            for cell, drawn in zip(self.cells, rates, strict=True)
            for number, process in enumerate(drawn)
        ]
        return judge_all(NOWHERE, self.campaign, processes)


def draw(
    random: np.random.Generator,
    cells: int,
    *,
    between: float,
    shape: Shape = normal,
    processes: int = PROCESSES,
    repetitions: int = REPETITIONS,
) -> Rates:
    """Draw rates around TRUE_RATE."""
    process = between * random.standard_normal((cells, processes, 1))
    return TRUE_RATE * (1 + process + NOISE * shape(random, (cells, processes, repetitions)))


def judged(rates: Rates) -> list[Judged]:
    """Evaluate simulated rates, in cells of any number of processes and repetitions."""
    return Drawn(len(rates), Protocol(repetitions=rates.shape[2], rounds=rates.shape[1])).judged(rates)


def coverage(random: np.random.Generator, draws: int, shape: str, between: float) -> Share:
    """Return the share of cells whose interval holds the true rate."""
    found = [interval(one.means) for one in judged(draw(random, draws, between=between, shape=SHAPES[shape]))]
    return Share(sum(one.low <= TRUE_RATE <= one.high for one in found), draws, f"{shape}, b {between:.1%}")


def until_coverage(random: np.random.Generator, draws: int, between: float, until: float = 0.01) -> Share:
    """Return the share of cells with a correct interval when rounds were added until it was narrow enough."""
    protocol = Protocol(repetitions=REPETITIONS, rounds=1, until=until, budget_s=10**9)
    drawn = Drawn(draws, protocol)
    order = Order(drawn.campaign.plan, drawn.names)
    runs: list[Run] = []
    while turns := due(order, runs):
        rates = draw(random, len(turns), between=between, processes=1)
        runs += [drawn.run(turn.cell, turn.round, rate[0]) for turn, rate in zip(turns, rates.tolist(), strict=True)]
    found = [interval(one.means) for one in judge_all(NOWHERE, drawn.campaign, runs)]
    return Share(sum(one.low <= TRUE_RATE <= one.high for one in found), draws, f"b {between:.1%}")


def compared(before: Sequence[Judged], after: Sequence[Judged], threshold: float = 0.05) -> list[Difference]:
    """Compare the cells of two campaigns as `smoothdroid compare` does."""
    cells = [(means_by_round(a, "before"), means_by_round(b, "after")) for a, b in zip(before, after, strict=True)]
    return differences(cells, threshold)


def false_positive(random: np.random.Generator, draws: int, shape: str, between: float) -> Share:
    """Return the share of unchanged cells, each compared alone, that are called faster or slower."""
    sides = [judged(draw(random, draws, between=between, shape=SHAPES[shape])) for _ in range(2)]
    found = [compared([a], [b])[0].answer for a, b in zip(*sides, strict=True)]
    return Share(sum(answer != "not significant" for answer in found), draws, f"{shape}, b {between:.1%}")


def power(random: np.random.Generator, draws: int, slowdown: float) -> Share:
    """Return the share of slower cells that are called slower."""
    before, after = (draw(random, draws, between=USUAL) for _ in range(2))
    sides = judged(before), judged(after * (1 - slowdown))
    return Share(sum(compared([a], [b])[0].answer == "slower" for a, b in zip(*sides, strict=True)), draws)


def family(random: np.random.Generator, draws: int, between: float) -> Share:
    """Return the share of comparisons of FAMILY unchanged cells in which any is called faster or slower."""
    wrong = 0
    for _ in range(draws):
        before, after = (judged(draw(random, FAMILY, between=between)) for _ in range(2))
        wrong += any(one.answer != "not significant" for one in compared(before, after))
    return Share(wrong, draws, f"b {between:.1%}")


def exits(random: np.random.Generator, draws: int, slowdown: float, threshold: float = 0.05) -> Share:
    """Return the share of comparisons with exit status 1, of FAMILY cells of which one became slower."""
    failed = 0
    for _ in range(draws):
        before, after = (draw(random, FAMILY, between=USUAL) for _ in range(2))
        after[0] *= 1 - slowdown
        failed += any(one.regression for one in compared(judged(before), judged(after), threshold))
    return Share(failed, draws)


def best_coverage(random: np.random.Generator, draws: int, settings: int, between: float) -> Share:
    """Return the share of winners among equal settings whose interval holds their true rate."""
    hits = 0
    cells = judged(draw(random, draws * settings, between=between))
    for index in range(draws):
        rate = fastest([one.means for one in cells[index * settings : (index + 1) * settings]]).rate
        hits += rate.low <= TRUE_RATE <= rate.high
    return Share(hits, draws, f"{settings} settings, b {between:.1%}")


LOSSES: Mapping[str, Rates] = {
    "3 x 5, each process loses 15 %": np.tile(np.linspace(1, 0.85, 5), (3, 1)),
    "5 x 2, each process loses 15 %": np.tile([1.0, 0.85], (5, 1)),
    "1 x 10, the last is 20 % slower": np.array([[1.0] * 9 + [0.8]]),
    "5 x 2, the last is 20 % slower": np.array([[1.0, 1.0]] * 4 + [[1.0, 0.8]]),
}


def drift_caught(random: np.random.Generator, draws: int, name: str) -> Share:
    """Return the share of cells that lose speed within their processes and are invalid."""
    losses = LOSSES[name]
    processes, repetitions = losses.shape
    found = judged(draw(random, draws, between=USUAL, processes=processes, repetitions=repetitions) * losses)
    return Share(sum(not one.verdict.valid for one in found), draws, name)


def false_alarm(random: np.random.Generator, draws: int, shape: str, between: float) -> Share:
    """Return the share of steady cells that are invalid."""
    found = judged(draw(random, draws, between=between, shape=SHAPES[shape]))
    return Share(sum(not one.verdict.valid for one in found), draws, f"{shape}, b {between:.1%}")


@dataclass(frozen=True)
class Figure:
    """A share of draws, and its goal."""

    name: str
    what: str
    goal: str
    share: Share

    @property
    def ends(self) -> tuple[float, float]:
        """Wilson's 95% interval."""
        found = scipy_stats.binomtest(self.share.found, self.share.draws).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def facts(self) -> dict[str, object]:
        """Return the figure as JSON."""
        low, high = self.ends
        against = "; ".join(filter(None, [self.goal, self.share.condition, f"{self.share.draws} draws"]))
        ends = {"value": self.share.value, "low": low, "high": high}
        return {"name": self.name, **{k: round(v, 4) for k, v in ends.items()}, "unit": "share", "against": against}

    def row(self) -> str:
        """Return the figure as a line of a Markdown table."""
        low, high = self.ends
        worst = self.share.condition or "-"
        return f"| {self.what} | {self.share.value:.1%} | {low:.1%} to {high:.1%} | {self.goal} | {worst} |"


def figures(random: np.random.Generator, draws: int) -> Iterator[Figure]:
    """Draw and return all figures. A draw of FAMILY cells or of several settings is repeated a quarter as often."""
    quarter = max(1, draws // 4)
    uneven = [(between,) for between in BETWEEN[1:]]
    many = [(settings, between) for settings in SETTINGS for between in BETWEEN]
    quiet = [(shape, between) for shape, between in CONDITIONS if between <= USUAL]

    def each(figure: Callable[..., Share], count: int, conditions: Sequence[tuple[object, ...]]) -> list[Share]:
        shares = []
        for index, condition in enumerate(conditions):
            print(f"{figure.__name__}: {index}/{len(conditions)}", file=sys.stderr)
            shares.append(figure(random, count, *condition))
        return sorted(shares, key=lambda share: share.value)

    found = each(coverage, draws, CONDITIONS)[0]
    yield Figure("coverage", "The interval of a cell holds its true rate", "at least 93 %", found)
    found = each(coverage, draws, [("exponential", between) for between in BETWEEN])[0]
    yield Figure("coverage_exponential", "The same with exponential noise", "95 % nominal", found)
    found = each(until_coverage, draws // 2, uneven)[0]
    yield Figure("until_coverage", "It does so where `--until 1%` ended the cell", "95 % nominal", found)
    found = each(false_positive, draws, CONDITIONS)[-1]
    yield Figure("false_positive", "`compare` calls an unchanged cell different", "at most 6 %", found)
    found = power(random, draws, 0.05)
    yield Figure("power_5", "`compare` finds a cell 5 % slower, b 1 %", "at least 90 %", found)
    found = each(family, quarter, uneven)[-1]
    yield Figure("family_false_positive", "`compare` calls any of 24 unchanged cells different", "at most 6 %", found)
    found = each(best_coverage, quarter, many)[0]
    yield Figure(
        "best_coverage", "The interval of the best of equal settings holds its true rate", "at least 93 %", found
    )
    found = each(drift_caught, draws, [(name,) for name in LOSSES])[0]
    yield Figure("drift_caught", "A cell that loses speed within its processes is invalid", "at least 95 %", found)
    found = each(false_alarm, draws, quiet)[-1]
    yield Figure("false_alarm", "A steady cell is invalid, b up to 1 %", "-", found)
    found = exits(random, quarter, 0.08)
    yield Figure(
        "threshold_exit_8", "`compare --threshold 5%` exits 1: one of 24 cells 8 % slower", "at least 90 %", found
    )
    found = exits(random, quarter, 0.02)
    yield Figure("threshold_exit_2", "The same: one of 24 cells 2 % slower", "at most 5 %", found)


def with_table(text: str, found: Sequence[Figure]) -> str:
    """Replace the text between `<!-- coverage -->` and `<!-- end -->`."""
    before, mark, rest = text.partition("<!-- coverage -->\n")
    _, end, after = rest.partition("<!-- end -->")
    head = "| drawn | share | 95 % interval | goal | worst condition |\n|---|---:|---|---|---|\n"
    return before + mark + head + "".join(f"{one.row()}\n" for one in found) + end + after


def main() -> None:
    """Draw, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000, help="for each condition")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--docs", action="store_true", help=f"write the table into {DOCS.name}")
    asked = parser.parse_args()
    found = list(figures(np.random.default_rng(asked.seed), asked.draws))
    if asked.docs:
        DOCS.write_text(with_table(DOCS.read_text(encoding="utf-8"), found), encoding="utf-8")
    for figure in found:
        print(json.dumps(figure.facts()))


if __name__ == "__main__":
    main()
