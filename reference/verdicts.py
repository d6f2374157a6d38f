"""What a verdict can say, from the checks that say it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from reference.markdown import page, plain, table
from smoothdroid.host.results import checks, finding, throttling_checks


def write() -> str:
    """The page."""
    return page(
        "# Verdicts",
        "Written from the code (`host/results/checks.py`, `host/results/throttling_checks.py`). "
        "[What they are for](../explanation/validity.md).",
        "## Of one run",
        "A run in which one of these was found is rejected: its repetitions are not averaged in.",
        _checks(checks.OF_A_RUN),
        "## Of a cell",
        "Looked for in all processes of a cell together, and beside its neighbours.",
        _checks(checks.OF_A_CELL),
        "## Remarks",
        "These make nothing invalid.",
        _checks(checks.REMARKS),
        "## Limits",
        table(["Limit", "Value", "Where it comes from"], [*_limits(checks), *_limits(throttling_checks)]),
    )


def _checks(listed: Sequence[Callable[..., object]]) -> str:
    rows = [[f"**{plain(word)}**", plain(inspect.getdoc(check) or "")] for check in listed for word in words(check)]
    return table(["Verdict", "What was found"], rows)


def words(check: Callable[..., object]) -> list[str]:
    """The verdicts that a check can give: the first argument of each Finding that it makes."""
    tree = ast.parse(inspect.getsource(check))
    named = vars(checks)
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == finding.Finding.__name__:
            first = node.args[0]
            found[str(first.value) if isinstance(first, ast.Constant) else named[ast.unparse(first)]] = None
    return list(found)


def _limits(module: object) -> Iterable[list[str]]:
    """The numbers of a module that have a text under them."""
    body = ast.parse(inspect.getsource(module)).body  # type: ignore[arg-type]
    for node, text in pairwise(body):
        match node, text:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int() | float() as value)), ast.Expr(
                value=ast.Constant(value=str(says))
            ):
                yield [f"`{name}`", f"`{value}`", plain(says)]
