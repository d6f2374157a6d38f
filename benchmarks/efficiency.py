"""The share of a SoC's peak that llama.cpp reaches on phone CPUs, from published speeds, and its error.

    python -m benchmarks.efficiency            # the fit, a point at a time; figures, a JSON object a line
    python -m benchmarks.efficiency --docs     # write its tables into docs/predictions.md

The fit itself is host/predict/efficiency.py: `smoothdroid predict` makes it from host/predict/published.toml whenever
it is called, so there is no copy of the factors to go stale. Figures: `decode_efficiency` and `prefill_efficiency`,
share of the peak, with the 95 % interval for one more phone; `..._left_out`: how many times too high or too low the
middle is for a point that is not fitted on, geometric mean, lowest and highest; `..._phone_left_out`: the same where
all points of its phone are left out, which is what a prediction for a new phone is like.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from smoothdroid.device.info import socs
from smoothdroid.host.predict import roofline, work
from smoothdroid.host.predict.efficiency import Efficiency, Fitted, fitted, left_out

DOCS = Path(__file__).parents[1] / "docs/predictions.md"

# What the write-up that began this project expects of Llama-2-7B as Q8_0; nobody measured it.
CLAIMED = {"SM8650": "10-15", "SM8550": "8-12", "SM8350": "5-8"}


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {DOCS.name}")
    arguments = parser.parse_args()
    if arguments.docs:
        DOCS.write_text(with_tables(DOCS.read_text(encoding="utf-8")))
    for table in tables().values():
        print(table)
    for figure in figures(fitted()):
        print(json.dumps(figure))


def with_tables(text: str) -> str:
    """Return `text` with each table between its marks: `<!-- NAME -->` and `<!-- end -->`."""
    for name, table in tables().items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        text = f"{before}{mark}{table}{end}{after}"
    return text


def tables() -> dict[str, str]:
    """Return each table in Markdown, by name."""
    return {"claims": _claims(fitted()), "points": _points(fitted()), "errors": _errors(fitted())}


def figures(known: Fitted) -> Iterator[dict[str, object]]:
    """Return the figures that are printed last."""
    for name, factor, shares in _parts(known):
        yield _figure(f"{name}_efficiency", factor.middle, factor.low, factor.high, "share", "the peak")
        for suffix, groups in _groups(known).items():
            misses = [_times(ratio) for ratio in left_out(shares, groups)]
            yield _figure(f"{name}_{suffix}", _geometric(misses), min(misses), max(misses), "times", "fitted without")


def _parts(known: Fitted) -> Iterator[tuple[str, Efficiency, list[float]]]:
    yield "decode", known.decode, [point.decode_efficiency for point in known.points]
    yield "prefill", known.prefill, [point.prefill_efficiency for point in known.points]


def _groups(known: Fitted) -> dict[str, list[str]]:
    """Return the groups of points that are left out together."""
    return {
        "left_out": [str(number) for number, _ in enumerate(known.points)],
        "phone_left_out": [point.phone for point in known.points],
    }


def _claims(known: Fitted) -> str:
    asked = work.of("llama-2-7b", "q8_0")
    lines = ["| SoC | claimed, tokens/s | expected decode | 95 % interval | ceiling |", "|---|---:|---:|---:|---:|"]
    for code, claim in CLAIMED.items():
        soc = socs.find(code)
        expected = roofline.predict(asked, soc, known).decode if soc else None
        if soc and expected:
            ends = f"{expected.low:.1f} to {expected.high:.1f}"
            lines.append(f"| {soc.name} | {claim} | {expected.middle:.1f} | {ends} | {expected.ceiling:.1f} |")
    return "".join(f"{line}\n" for line in lines)


def _points(known: Fitted) -> str:
    lines = [
        "| phone | SoC | model | decode, t/s | of the DRAM's peak | prefill, t/s | of the cores' peak | source |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for point in known.points:
        rates = f"{point.decode:g} | {point.decode_efficiency:.2f} | {point.prefill:g} | {point.prefill_efficiency:.3f}"
        lines.append(f"| {point.phone} | {point.soc.name} | {point.work.name} | {rates} | {point.source} |")
    return "".join(f"{line}\n" for line in lines)


def _errors(known: Fitted) -> str:
    lines = [
        "| | share of the peak | 95 % interval | a point left out: off by | its phone left out: off by |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, factor, shares in _parts(known):
        misses = [[_times(ratio) for ratio in left_out(shares, groups)] for groups in _groups(known).values()]
        told = " | ".join(f"{_geometric(some):.1f} times, at most {max(some):.1f}" for some in misses)
        lines.append(f"| {name} | {factor.middle:.2f} | {factor.low:.2f} to {factor.high:.2f} | {told} |")
    return "".join(f"{line}\n" for line in lines)


def _times(ratio: float) -> float:
    """Return the factor by which a prediction is too high or too low."""
    return max(ratio, 1 / ratio)


def _geometric(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def _figure(name: str, value: float, low: float, high: float, unit: str, against: str) -> dict[str, object]:
    ends = {"value": round(value, 3), "low": round(low, 3), "high": round(high, 3)}
    return {"name": name, **ends, "unit": unit, "against": against}


if __name__ == "__main__":
    main()
