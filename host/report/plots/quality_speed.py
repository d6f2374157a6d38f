"""Evaluations -> KLD over bytes and over tokens/s, a plain model and its smoothed form joined by an arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data.model_files import Form, pairs
from smoothdroid.host.report.data.phone_results import Group, headline, prefill, question
from smoothdroid.host.report.data.safe_text import line, short
from smoothdroid.host.report.plots.figure import Picture
from smoothdroid.host.report.plots.kld import Point, conditions, kld_over, sizes
from smoothdroid.host.report.tables.cells import number
from smoothdroid.host.results.statistics import Interval


def over_bytes(evaluations: Iterable[Evaluation], known: list[Form]) -> Iterator[Picture]:
    """One for each evaluation."""
    for count, found in enumerate(evaluations, 1):
        joined = pairs(found, known)
        points, axis, name = sizes(found), "file size (MB)", f"quality-size-{count}"
        figure = kld_over(points, axis, conditions(found), joined)
        title = f"KLD to {found.reference.name} against size, {found.kernels}"
        yield Picture(name, line(title), _told(points, axis, joined=bool(joined)), figure)


def over_speed(evaluations: Iterable[Evaluation], groups: Sequence[Group], known: list[Form]) -> Iterator[Picture]:
    """One for each evaluation and phone that measured one of its models."""
    count = 0
    for found in evaluations:
        joined, candidates = pairs(found, known), [row for row, _ in sizes(found)]
        for group in groups:
            speeds, test = decode_speeds(group)
            points = [(row, speeds[row.model.sha256]) for row in candidates if row.model.sha256 in speeds]
            if points:
                count += 1
                axis = f"tokens/s, {test}"
                told = "\n".join(filter(None, [short(group.title, 60), conditions(found), group.caveat]))
                figure = kld_over(points, axis, told, joined)
                title = f"KLD to {found.reference.name} against decode speed on {group.title}, {found.kernels}"
                text = _told(points, axis, joined=bool(joined))
                yield Picture(f"quality-speed-{count}", line(title), text, figure)


def decode_speeds(group: Group) -> tuple[dict[str, Interval], str]:
    """Model's hash -> tokens/s of its best valid setting in one test of decode, and that test."""
    test = headline(group.rows, of_prefill=False)
    found = (best for best in group.bests if question(best.row) == test and not prefill(best.row))
    return {best.row.judged.cell.model_sha256: best.rate for best in found}, test or ""


def _told(points: Iterable[Point], axis: str, *, joined: bool) -> str:
    each = (
        f"{row.model.name}: {number(x.mean)}, KLD {number(row.figures.kld.mean)}" for row, x in points if row.figures
    )
    arrow = " An arrow leads from a plain model to its smoothed form." if joined else ""
    return f"{axis} and mean KLD. {'; '.join(each)}.{arrow}"
