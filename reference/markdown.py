"""The building blocks of the pages: tables, code and escaped text in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Cells may contain Markdown; `|` and line breaks in them are escaped."""
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: object) -> str:
    """Return text as code, or nothing for an empty text. In a table, Python-Markdown needs `|` as an entity."""
    if "|" in str(text):
        return f"<code>{html.escape(str(text)).replace('|', '&#124;')}</code>"
    return f"`{text}`" if str(text) else ""


def plain(text: str) -> str:
    """Return a docstring or help text with Markdown characters escaped; `code` in it remains code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def page(*parts: str) -> str:
    """Return the non-empty parts as paragraphs of a page."""
    return "\n\n".join(part for part in parts if part) + "\n"


def _escaped(text: str) -> str:
    # Python-Markdown knows no backslash escape for these characters.
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\*_\[\]])", r"\\\1", text)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))
