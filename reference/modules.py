"""The module map of docs/architecture.md, from the first docstring line of each package and module.

Run `python -m reference.modules` to write it into the page.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
TOPS = ("host", "device")
BEGIN = "<!-- module map: `python -m reference.modules` writes it -->\n"
END = "<!-- end of the module map -->\n"


def module_map() -> str:
    """Return the map in Markdown: an item for each package, and below it one for each module."""
    return "\n".join(line for top in TOPS for line in _lines(ROOT / top)) + "\n"


def _lines(package: Path) -> Iterator[str]:
    yield f"- `{package.relative_to(ROOT)}/` — {first_line(package / '__init__.py')}"
    modules = sorted(path for path in package.glob("*.py") if path.name != "__init__.py")
    for module in modules:
        yield f"    - `{module.name}` {first_line(module)}"
    for folder in sorted(path.parent for path in package.glob("*/__init__.py")):
        yield from _lines(folder)


def first_line(module: Path) -> str:
    """Return the first line of a module's docstring. Raises ValueError where there is none."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{module} has no docstring")
    return docstring.splitlines()[0]


def with_map(page: str) -> str:
    """Return a page with the current map between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{module_map()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
