"""An evaluation -> a table on the terminal and in Markdown."""

from __future__ import annotations

import math

from rich.table import Table

from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data.quality import Row, conditions, rows, verdict
from smoothdroid.host.report.data.safe_text import markdown as shown
from smoothdroid.host.report.tables.cells import number
from smoothdroid.host.results.statistics import Interval

HEAD = ("model", "MB", "bpw", "perplexity", "of the reference's", "mean KLD", "99 % KLD", "same top-1, %")


def terminal(evaluation: Evaluation) -> Table:
    """A table for rich to print; the comparisons are `verdicts`."""
    table = Table(caption=conditions(evaluation))
    for name in HEAD:
        table.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    for row in rows(evaluation):
        table.add_row(*_cells(row))
    return table


def cells(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """A line for each model, under HEAD."""
    return [_cells(row) for row in rows(evaluation)]


def verdicts(evaluation: Evaluation) -> list[str]:
    """A sentence for each candidate that is compared with the first."""
    return [said for row in rows(evaluation) if (said := verdict(row))]


def markdown(evaluation: Evaluation) -> str:
    """A Markdown document with the table and what the comparisons come to."""
    lines = [f"# Distance from {shown(evaluation.reference.name)}", "", shown(conditions(evaluation)), ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
    lines += ["| " + " | ".join(shown(cell) for cell in _cells(row)) + " |" for row in rows(evaluation)]
    lines += ["", *(f"- {shown(said)}" for said in verdicts(evaluation))]
    return "\n".join(lines).rstrip() + "\n"


def with_error(value: float, error: float) -> str:
    """`0.00379 ± 0.00018`: the error with two digits, the value to the same place."""
    if not 0 < error < math.inf:
        return f"{number(value)} ± {error:g}"
    places = max(0, 1 - int(f"{error:.1e}".partition("e")[2]))
    return f"{value:.{places}f} ± {error:.{places}f}"


def _cells(row: Row) -> tuple[str, ...]:
    model = row.model
    head = (model.name, f"{model.size_bytes / 1e6:.1f}", f"{model.bits_per_weight:.2f}", _shown(row.perplexity))
    if row.figures is None:
        return (*head, "", "reference", "", "")
    found = row.figures
    return (
        *head,
        _shown(found.perplexity_ratio),
        _shown(found.kld),
        _shown(found.kld_tail),
        _shown(found.same_top, 100),
    )


def _shown(found: Interval, factor: float = 1) -> str:
    return with_error(factor * found.mean, factor * found.half)
