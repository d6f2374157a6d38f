"""What phones, files and models say, made fit to be shown: one line, nothing that acts on what stands around it."""

from __future__ import annotations

import re

from smoothdroid.device.common.text import visible

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def line(text: str) -> str:
    """One line; what acts instead of being seen becomes a replacement character."""
    return " ".join(block(text.replace("\r", " ")).split())


def block(text: str) -> str:
    """The same with its lines, where they mean something: in a command."""
    return visible(text)


def short(text: str, most: int) -> str:
    """No more than `most` characters, cut in the middle: names are told apart by their ends."""
    text = line(text)
    head = (most - 1) // 2
    return text if len(text) <= most else f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def markdown(text: str) -> str:
    """For GitHub's Markdown: nothing in it is markup, a link or a mention, nor ends a cell of a table."""
    text = re.sub(r"([\\|`*\[\]<>~$!#])", r"\\\1", line(text))
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)  # inside a word it is none
    return re.sub(r"(?i)(?<=http)(?=s?://)|(?<=ftp)(?=://)|(?<=www)(?=\.)|(?<=@)(?=\w)", "\u200b", text)


def csv_cell(text: str) -> str:
    """One line for a spreadsheet, which would compute a text that begins like a formula.

    Some spreadsheets skip a tab or a carriage return at the beginning, which `line` takes away, and read the
    full-width signs of East Asian keyboards as the plain ones.
    """
    text = line(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
