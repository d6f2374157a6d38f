"""A comparison -> tables and sentences on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.table import Table

from smoothdroid.host.compare.by import DEFAULT
from smoothdroid.host.compare.comparison import Compared, Pair
from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.results.statistics import CONFIDENCE

SETTING = {"model": "model", "test": "test", "cpus": "CPUs", "threads": "threads"}
"""A cell's fields, and the heads of their columns."""

FOUND = ("processes", "A tokens/s", "B tokens/s", "B / A", f"{CONFIDENCE:.0%} interval", "adjusted p", "B is", "remark")
WORDS = ("model", "test", "CPUs", "settings", "B is", "remark")


def terminal(compared: Compared) -> Iterator[Table]:
    """Yield a table for each phone and transport."""
    groups: dict[str, list[Pair]] = {}
    for pair in compared.pairs:
        campaign = pair.a.campaign
        groups.setdefault(f"{campaign.phone.model} ({campaign.phone.soc}), over {campaign.transport}", []).append(pair)
    asked = compared.by.field.name if compared.by else ""
    for title, pairs in groups.items():
        table = Table(title=title, caption=compared.caveat or None)
        for name in (*(head for field, head in SETTING.items() if field != asked), "settings", *FOUND):
            # Folded, not cut: the names of models differ in their ends.
            table.add_column(name, justify="left" if name in WORDS else "right", overflow="fold")
        for pair in pairs:
            table.add_row(*_setting(pair, asked), *_found(pair))
        yield table


def sides(compared: Compared) -> list[str]:
    """Say what A and B are."""
    return [f"A: {compared.a}", f"B: {compared.b}"]


def said(compared: Compared) -> list[str]:
    """Say what the tables do not show."""
    lines = [f"left out: {damaged}" for damaged in compared.damage]
    lines += [f"not the same: {change}" for change in compared.changes]
    lines += [f"only in A: {cell}" for cell in compared.only_a]
    lines += [f"only in B: {cell}" for cell in compared.only_b]
    cells = len(compared.pairs)
    found = [pair.difference for pair in compared.pairs]
    if paired := sum(one.paired for one in found):
        lines.append(f"{paired} of {cells} cells are compared in pairs of processes, each pair from one round")
    if apart := sum(not one.one_campaign for one in found):
        lines.append(
            f"{apart} of {cells} cells are compared unpaired (Welch): A and B are of different campaigns, whose rounds "
            "did not take turns, so what else changed between them is in no interval"
        )
    if tested := sum(not math.isnan(one.p_value) for one in found):
        lines.append(
            f"the answers account for the number of cells (Holm, {tested} tested): with nothing changed, the "
            f"probability of any faster or slower is at most {1 - CONFIDENCE:.0%}; an interval is of its own cell alone"
        )
    beyond = f"slower by more than {100 * compared.threshold:g} %, and significantly so"
    lines.append(f"{len(compared.regressions)} of {cells} cells {beyond}")
    return lines


def _setting(pair: Pair, asked: str) -> Iterator[str]:
    """Yield a pair's columns without the one that `asked` names, in which A and B differ."""
    cell = pair.a.cell
    shown = {"model": cell.model, "test": cell.test.name, "cpus": pair.a.cpus, "threads": str(cell.threads)}
    yield from (value for field, value in shown.items() if field != asked)
    options = cell.options.model_dump(exclude_defaults=True)
    options.pop(asked.replace("-", "_"), None)
    yield str(type(cell.options).model_validate(options)) or DEFAULT


def _found(pair: Pair) -> tuple[str, ...]:
    found = pair.difference
    ratio = found.comparison.ratio
    processes = f"{found.n} pair{'s' if found.n > 1 else ''}" if found.paired else f"{len(found.a)} and {len(found.b)}"
    a, b = (number(sum(means) / len(means)) for means in (found.a, found.b))
    between = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.n > 1 else "-"
    answer = f"{found.answer}, a regression" if found.regression else found.answer
    return (processes, a, b, f"{ratio.mean:.3f}", between, _p_value(found.p_value), answer, pair.remark)


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "<0.001"
