"""The page of verdicts, from the checks that give them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from reference.markdown import page, plain, table
from smoothdroid.host.results import checks, finding, throttling_checks


def write() -> str:
    """Return the page."""
    return page(
        "# Verdicts",
        "Generated from the code (`host/results/checks.py`, `host/results/throttling_checks.py`). "
        "[Their purpose](../explanation/validity.md).",
        "## Problems of a run",
        "A run with one of these problems is rejected: its repetitions are not averaged.",
        _checks(checks.OF_A_RUN),
        "## Problems of a cell",
        "These checks look at all processes of a cell together, and at neighbouring cells.",
        _checks(checks.OF_A_CELL),
        "## Remarks",
        "Remarks do not make a result invalid.",
        _checks(checks.REMARKS),
        "## Limits",
        table(["Limit", "Value", "Reason"], [*_limits(checks), *_limits(throttling_checks)]),
    )


def _checks(listed: Sequence[Callable[..., object]]) -> str:
    rows = [[f"**{plain(word)}**", plain(inspect.getdoc(check) or "")] for check in listed for word in words(check)]
    return table(["Verdict", "What the check does"], rows)


def words(check: Callable[..., object]) -> list[str]:
    """Return the verdicts that a check can give: the first argument of each Finding that it makes."""
    tree = ast.parse(inspect.getsource(check))
    named = vars(checks)
    verdicts: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == finding.Finding.__name__:
            first = node.args[0]
            verdicts[str(first.value) if isinstance(first, ast.Constant) else named[ast.unparse(first)]] = None
    return list(verdicts)


def _limits(module: object) -> Iterable[list[str]]:
    """Yield a row for each number of a module that has a docstring."""
    body = ast.parse(inspect.getsource(module)).body  # type: ignore[arg-type]
    for node, text in pairwise(body):
        match node, text:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int() | float() as value)), ast.Expr(
                value=ast.Constant(value=str(docstring))
            ):
                yield [f"`{name}`", f"`{value}`", plain(docstring)]
