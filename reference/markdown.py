"""What the pages are put together from."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a cell may hold Markdown, `|` and line breaks in it are taken care of."""
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: object) -> str:
    """As code, `|` too, which Python-Markdown shows with its backslash in a table's code; nothing for nothing."""
    if "|" in str(text):
        return f"<code>{html.escape(str(text)).replace('|', '&#124;')}</code>"
    return f"`{text}`" if str(text) else ""


def plain(text: str) -> str:
    """What a docstring or a help text says, so that nothing in it acts as Markdown; `code` in it stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _quiet(part) for part in parts)


def page(*parts: str) -> str:
    """Parts with an empty line between them."""
    return "\n\n".join(part for part in parts if part) + "\n"


def _quiet(text: str) -> str:
    # As entities, what Python-Markdown knows no backslash for.
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\*_\[\]])", r"\\\1", text)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))
