"""Safe text: names from phones, files and models, made harmless for HTML, Markdown, CSV and terminals."""

from __future__ import annotations

import re

from smoothdroid.device.common.text import visible

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def line(text: str) -> str:
    """Return the text as one line; invisible and control characters become a replacement character."""
    return " ".join(block(text.replace("\r", " ")).split())


def block(text: str) -> str:
    """Return the text with its line breaks, for commands; other control characters are replaced as in `line`."""
    return visible(text)


def short(text: str, most: int) -> str:
    """Return at most `most` characters, cut in the middle: names differ at their ends."""
    text = line(text)
    head = (most - 1) // 2
    return text if len(text) <= most else f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def markdown(text: str) -> str:
    """Escape a text for GitHub's Markdown: nothing in it is markup, a link or a mention, or ends a table's cell."""
    text = re.sub(r"([\\|`*\[\]<>~$!#])", r"\\\1", line(text))
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)  # within a word it is no markup
    return re.sub(r"(?i)(?<=http)(?=s?://)|(?<=ftp)(?=://)|(?<=www)(?=\.)|(?<=@)(?=\w)", "\u200b", text)


def csv_cell(text: str) -> str:
    """Return one line for CSV, with an apostrophe where a spreadsheet would take it for a formula.

    Some spreadsheets skip a leading tab or carriage return, which `line` removes, and treat the full-width signs of
    East Asian keyboards like the plain ones.
    """
    text = line(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
