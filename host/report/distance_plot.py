"""Evaluations -> KLD over bytes and over tokens/s, a plain model and its smoothed form joined by an arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from host.bench.stats import CONFIDENCE, Interval
from host.model.evaluation import Evaluation
from host.report import quality
from host.report.forms import Form, pairs
from host.report.groups import Group, headline, prefill, question
from host.report.picture import Picture
from host.report.plots import INK, legend, look, panel
from host.report.quality_plot import LOGARITHMIC_FROM
from host.report.shown import line, short
from host.report.tables import number

MODELS = 6
"""In a picture: as many as there are colours."""

Point = tuple[Interval, Interval]
"""Size or speed, and KLD."""


def over_bytes(evaluations: Iterable[Evaluation], known: list[Form]) -> Iterator[Picture]:
    """One for each evaluation."""
    for count, found in enumerate(evaluations, 1):
        sizes = {c.model.sha256: _exact(c.model.size_bytes / 1e6) for c in found.candidates}
        drawn = _picture(f"quality-size-{count}", found, known, sizes, "file size (MB)", "against size", "")
        if drawn:
            yield drawn


def over_speed(evaluations: Iterable[Evaluation], groups: Iterable[Group], known: list[Form]) -> Iterator[Picture]:
    """One for each evaluation and phone that measured one of its models."""
    count = 0
    here = list(groups)
    for found in evaluations:
        for group in here:
            speeds, test = decode_speeds(group)
            what = f"{test}, tokens/s on {short(group.title, 40)}"
            name = f"quality-speed-{count + 1}"
            drawn = _picture(name, found, known, speeds, what, f"against decode speed on {group.title}", group.caveat)
            if drawn:
                count += 1
                yield drawn


def decode_speeds(group: Group) -> tuple[dict[str, Interval], str]:
    """Model's hash -> tokens/s of its best valid setting in one test of decode, and that test."""
    test = headline(group.rows, of_prefill=False)
    found = (best for best in group.bests if question(best.row) == test and not prefill(best.row))
    return {best.row.judged.cell.model_sha256: best.rate for best in found}, test or ""


def _picture(
    name: str,
    found: Evaluation,
    known: list[Form],
    across: Mapping[str, Interval],
    axis: str,
    what: str,
    caveat: str,
) -> Picture | None:
    rows = [row for row in quality.rows(found) if row.figures and row.model.sha256 in across][:MODELS]
    points = {row.model.sha256: (across[row.model.sha256], row.figures.kld) for row in rows if row.figures}
    if not points:
        return None
    figure, (axes,) = panel()
    handles = [
        axes.errorbar(
            [x.mean], [y.mean], xerr=[[x.mean - x.low], [x.high - x.mean]], yerr=[[y.mean - y.low], [y.high - y.mean]],
            linestyle="none", markersize=6, capsize=3, **look(index),
        )
        for index, (x, y) in enumerate(points.values())
    ]  # fmt: skip
    for plain, smooth in pairs(found, known):
        if plain in points and smooth in points:
            ends = [(points[sha256][0].mean, points[sha256][1].mean) for sha256 in (smooth, plain)]
            arrow = {"arrowstyle": "->", "color": INK, "shrinkA": 5, "shrinkB": 5}
            axes.annotate("", xy=ends[0], xytext=ends[1], arrowprops=arrow)
    means = [y.mean for _, y in points.values()]
    if min(means) > 0 and max(means) > LOGARITHMIC_FROM * min(means):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.margins(x=0.2)
    axes.ticklabel_format(axis="x", useOffset=False)  # files of one type differ in the last digits only
    title = [f"distance from {short(found.reference.name, 40)}, {found.windows} windows of {found.context} tokens"]
    axes.set_title("\n".join([*title, short(found.kernels, 70), *filter(None, [caveat])]), fontsize=9)
    axes.set_xlabel(axis)
    axes.set_ylabel(f"mean KLD (nats, {CONFIDENCE:.0%} interval)")
    legend(figure, handles, [short(row.model.name, 44) for row in rows])
    told = "; ".join(
        f"{row.model.name}: {number(points[row.model.sha256][0].mean)}, KLD {number(points[row.model.sha256][1].mean)}"
        for row in rows
    )
    joined = " An arrow leads from a plain model to its smoothed form." if pairs(found, known) else ""
    return Picture(name, line(f"KLD {what}, {found.kernels}"), f"{axis} and mean KLD. {told}.{joined}", figure)


def _exact(value: float) -> Interval:
    return Interval(value, value, value, 1)
