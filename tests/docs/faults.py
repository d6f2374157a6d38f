"""The table of faults in docs/explanation/reliability.md, from the markers of the tests.

    python -m tests.docs.faults            print the table
    python -m tests.docs.faults --write    put it into the page

A test of a fault carries `@pytest.mark.fault("WHAT HAPPENS", transport="adb", outcome="WHAT SMOOTHDROID DOES")`, or a
parameter of it does. The markers are read from the source without running it, so their texts are literals.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs/explanation/reliability.md"
BEGIN, END = "<!-- faults: written by python -m tests.docs.faults --write -->", "<!-- end of faults -->"

TRANSPORTS = {
    "adb": "adb",
    "ssh": "SSH",
    "local": "this machine",
    "any": "any",
    "workstation": "none: on the workstation",
}
"""How a marker names where a fault lies -> how the page does, in the page's order."""


@dataclass(frozen=True)
class Fault:
    """One row: what happens, where, what becomes of it, and the test that shows it."""

    what: str
    transport: str
    outcome: str
    file: str
    test: str

    @property
    def order(self) -> tuple[int, str, str]:
        """By transport, then by fault."""
        return list(TRANSPORTS).index(self.transport), self.what.lower(), self.test


def faults(tests: Path = TESTS) -> list[Fault]:
    """All that the tests below a folder show. Raises ValueError that names the place of a wrong marker."""
    found = [fault for file in sorted(tests.rglob("test_*.py")) for fault in faults_in(file, tests.parent)]
    return sorted(dict.fromkeys(found), key=lambda fault: fault.order)


def faults_in(file: Path, root: Path) -> Iterator[Fault]:
    """Those of one file, in its order."""
    name = file.relative_to(root).as_posix()
    module = ast.parse(file.read_text(encoding="utf-8")).body
    lists = {
        target.id: node.value
        for node in module
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in module:
        tests = node.body if isinstance(node, ast.ClassDef) else [node]
        for test in tests:
            if isinstance(test, ast.FunctionDef):
                named = {
                    one.id
                    for decorator in test.decorator_list
                    for one in ast.walk(decorator)
                    if isinstance(one, ast.Name)
                }
                parameters = [lists[one] for one in sorted(named & lists.keys())]
                for call in _markers([*test.decorator_list, *parameters]):
                    yield _fault(call, name, test.name)


def _markers(decorators: Iterable[ast.expr]) -> Iterator[ast.Call]:
    for decorator in decorators:
        for node in ast.walk(decorator):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                yield node


def _fault(call: ast.Call, file: str, test: str) -> Fault:
    try:
        (what,) = (ast.literal_eval(one) for one in call.args)
        said = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
        transport, outcome = said.pop("transport"), said.pop("outcome")
        sound = not said and transport in TRANSPORTS and all(isinstance(text, str) for text in (what, outcome))
    except (ValueError, KeyError):
        sound = False
    if not sound:
        raise ValueError(
            f'{file}, line {call.lineno}: write @pytest.mark.fault("WHAT HAPPENS", transport="...", outcome="..."), '
            f"literals only, the transport one of {', '.join(TRANSPORTS)}"
        )
    return Fault(what, transport, outcome, file, test)


def table(found: Iterable[Fault]) -> str:
    """The rows as Markdown, and how many there are."""
    rows = [
        f"| {_cell(fault.what)} | {TRANSPORTS[fault.transport]} | {_cell(fault.outcome)} | `{fault.test}` |"
        for fault in found
    ]
    head = ["| What happens | Transport | What smoothdroid does | Shown by |", "|---|---|---|---|"]
    return "\n".join([f"{len(rows)} rows.", "", *head, *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def page_with(text: str, found: Iterable[Fault]) -> str:
    """The page with today's table between its two comments."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}"


def main() -> None:
    """Print the table, or write it into the page."""
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), faults()), encoding="utf-8")
    else:
        print(table(faults()))


if __name__ == "__main__":
    main()
