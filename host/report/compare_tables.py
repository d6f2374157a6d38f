"""A comparison -> tables and sentences on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from host.bench.stats import CONFIDENCE
from host.report.compare import Compared, Pair
from host.report.tables import number

HEAD = ("model", "test", "threads", "A tokens/s", "B tokens/s", "B / A", f"{CONFIDENCE:.0%} interval", "B is", "remark")
WORDS = ("model", "test", "B is", "remark")


def terminal(compared: Compared) -> Iterator[Table]:
    """A table for each phone and way."""
    groups: dict[str, list[Pair]] = {}
    for pair in compared.pairs:
        campaign = pair.a.campaign
        groups.setdefault(f"{campaign.phone.model} ({campaign.phone.soc}), over {campaign.way}", []).append(pair)
    for title, pairs in groups.items():
        table = Table(title=title, caption=compared.caveat or None)
        for name in HEAD:
            # Folded and not cut: models are told apart by the ends of their names.
            table.add_column(name, justify="left" if name in WORDS else "right", overflow="fold")
        for pair in pairs:
            table.add_row(*_cells(pair))
        yield table


def said(compared: Compared) -> list[str]:
    """What the tables do not show."""
    lines = [f"not the same: {change}" for change in compared.changes]
    lines += [f"only in A: {cell}" for cell in compared.only_a]
    lines += [f"only in B: {cell}" for cell in compared.only_b]
    by_chance = round(len(compared.pairs) * (1 - CONFIDENCE))
    if by_chance:
        lines.append(f"of {len(compared.pairs)} cells about {by_chance} are called different by chance")
    regressions = len(compared.regressions)
    beyond = f"slower by more than {100 * compared.threshold:g} %"
    lines.append(f"{regressions} of {len(compared.pairs)} cells {beyond}")
    return lines


def _cells(pair: Pair) -> tuple[str, ...]:
    a, b = pair.tokens_per_s
    comparison = pair.comparison
    ratio = comparison.ratio
    between = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.n > 1 else "-"
    answer = f"{comparison.answer}, a regression" if pair.regression else comparison.answer
    cell = pair.a.cell
    head = (cell.model, cell.test.name, str(cell.threads))
    return (*head, number(a.mean), number(b.mean), f"{ratio.mean:.3f}", between, answer, pair.remark)
