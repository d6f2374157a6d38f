"""Tables of an evaluation: on the terminal and in Markdown."""

from __future__ import annotations

from rich.table import Table

from smoothdroid.host.report.data.numbers import with_error
from smoothdroid.host.report.data.quality import Quality, QualityRow
from smoothdroid.host.report.data.safe_text import markdown as shown

HEAD = ("model", "MB", "bpw", "perplexity", "perplexity ratio", "mean KLD", "99 % KLD", "same top-1, %")


def terminal(quality: Quality) -> Table:
    """Return a table for rich to print."""
    table = Table(caption=quality.conditions)
    for name in HEAD:
        table.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    for row in cells(quality):
        table.add_row(*row)
    return table


def cells(quality: Quality) -> list[tuple[str, ...]]:
    """Return the texts of a line for each model, under HEAD."""
    return [_cells(row) for row in quality.rows]


def markdown(quality: Quality) -> str:
    """Return a Markdown document with the table and the comparisons."""
    lines = [f"# Distance from {shown(quality.evaluation.reference.name)}", "", shown(quality.conditions), ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
    lines += ["| " + " | ".join(map(shown, row)) + " |" for row in cells(quality)]
    lines += ["", *(f"- {shown(verdict)}" for verdict in quality.verdicts)]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row: QualityRow) -> tuple[str, ...]:
    model = row.model
    head = (model.name, f"{model.size_bytes / 1e6:.1f}", f"{model.bits_per_weight:.2f}", with_error(row.perplexity))
    if row.distance is None:
        return (*head, "", "reference", "", "")
    distance = row.distance
    figures = (distance.perplexity_ratio, distance.kld, distance.kld_tail)
    return (*head, *map(with_error, figures), with_error(distance.same_top, 100))
