"""The tables and sentences of a comparison on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.table import Table

from smoothdroid.host.compare.by import DEFAULT
from smoothdroid.host.compare.comparison import ComparedResults, Pair
from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.results.statistics import CONFIDENCE

SETTING = {"model": "model", "test": "test", "cpus": "CPUs", "threads": "threads"}
"""The heads of the columns of a cell's fields."""

FIGURES = (
    "processes",
    "A tokens/s",
    "B tokens/s",
    "B / A",
    f"{CONFIDENCE:.0%} interval",
    "adjusted p",
    "B is",
    "remark",
)
TEXTS = ("model", "test", "CPUs", "settings", "B is", "remark")


def terminal(compared: ComparedResults) -> Iterator[Table]:
    """Yield a table for each phone and transport."""
    groups: dict[str, list[Pair]] = {}
    for pair in compared.pairs:
        campaign = pair.a.campaign
        groups.setdefault(f"{campaign.phone.model} ({campaign.phone.soc}), over {campaign.transport}", []).append(pair)
    compared_field = compared.by.field.name if compared.by else ""
    for title, pairs in groups.items():
        table = Table(title=title, caption=compared.caveat or None)
        for name in (*(head for field, head in SETTING.items() if field != compared_field), "settings", *FIGURES):
            # Folded and not cut: the names of models differ at their ends.
            table.add_column(name, justify="left" if name in TEXTS else "right", overflow="fold")
        for pair in pairs:
            table.add_row(*_setting(pair, compared_field), *_figures(pair))
        yield table


def sides(compared: ComparedResults) -> list[str]:
    """Return the lines that name A and B."""
    return [f"A: {compared.a}", f"B: {compared.b}"]


def notes(compared: ComparedResults) -> list[str]:
    """Return the lines below the tables: what they do not show, and how it was computed."""
    lines = [f"left out: {damaged}" for damaged in compared.damage]
    lines += [f"different: {change}" for change in compared.changes]
    lines += [f"only in A: {cell}" for cell in compared.only_a]
    lines += [f"only in B: {cell}" for cell in compared.only_b]
    cells = len(compared.pairs)
    differences = [pair.difference for pair in compared.pairs]
    if paired := sum(one.paired for one in differences):
        lines.append(f"{paired} of {cells} cells are compared in pairs of processes, each pair from one round")
    if apart := sum(not one.one_campaign for one in differences):
        lines.append(
            f"{apart} of {cells} cells are compared unpaired (Welch): A and B come from different campaigns, "
            "whose rounds were not interleaved, so no interval covers what else changed between them"
        )
    if tested := sum(not math.isnan(one.p_value) for one in differences):
        lines.append(
            f"`faster` and `slower` account for the number of cells (Holm, {tested} tested): if nothing changed, the "
            f"probability of any of them is at most {1 - CONFIDENCE:.0%}; each interval is for its own cell alone"
        )
    lines.append(
        f"{len(compared.regressions)} of {cells} cells are significantly slower, by more than "
        f"{100 * compared.threshold:g} %"
    )
    return lines


def _setting(pair: Pair, compared_field: str) -> Iterator[str]:
    """Yield a pair's columns without the compared field, in which A and B differ."""
    cell = pair.a.cell
    shown = {"model": cell.model, "test": cell.test.name, "cpus": pair.a.cpus, "threads": str(cell.threads)}
    yield from (value for field, value in shown.items() if field != compared_field)
    options = cell.options.model_dump(exclude_defaults=True)
    options.pop(compared_field.replace("-", "_"), None)
    yield str(type(cell.options).model_validate(options)) or DEFAULT


def _figures(pair: Pair) -> tuple[str, ...]:
    difference = pair.difference
    ratio = difference.comparison.ratio
    processes = (
        f"{difference.n} pair{'s' if difference.n > 1 else ''}"
        if difference.paired
        else f"{len(difference.a)} and {len(difference.b)}"
    )
    a, b = (number(sum(means) / len(means)) for means in (difference.a, difference.b))
    between = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.n > 1 else "-"
    answer = f"{difference.answer}, a regression" if difference.regression else difference.answer
    return (processes, a, b, f"{ratio.mean:.3f}", between, _p_value(difference.p_value), answer, pair.remark)


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "<0.001"
