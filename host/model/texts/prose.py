"""The prose that every CPython carries, to evaluate on; and what a text is known by. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from smoothdroid.device.common.errors import BadInput

# The share of Python's prose that is left out: earlier releases calibrated on it, and their files are evaluated too.
# The rest is some 25,000 tokens, enough for 40 windows of 512.
LEFT_OUT_SHARE = 0.75

PARAGRAPH = "\n\n"


@dataclass(frozen=True)
class Prose:
    """A text; `name` is for people, `sha256` (of its UTF-8) identifies it."""

    name: str
    content: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text's UTF-8, in hex."""
        return sha256(self.content.encode()).hexdigest()


def last_part(topics: list[str]) -> str:
    """Return the topics that follow the first three quarters of the text, without paragraphs that occur before.

    A topic of Python's documentation may repeat another whole (`compound` holds `for`, `while` and `try`): a fifth
    of the paragraphs occur twice.
    """
    first: list[str] = []
    wanted = LEFT_OUT_SHARE * sum(map(len, topics))
    while sum(map(len, first)) < wanted:
        first.append(topics[len(first)])
    seen = {paragraph.strip() for topic in first for paragraph in topic.split(PARAGRAPH)}
    last: list[str] = []
    for topic in topics[len(first) :]:
        for paragraph in topic.split(PARAGRAPH):
            if paragraph.strip() not in seen:
                seen.add(paragraph.strip())
                last.append(paragraph)
    return PARAGRAPH.join(last)


def evaluation_prose(file: Path | None) -> Prose:
    """Return the text to evaluate on: the user's, or the last part of Python's prose.

    Raises BadInput where the file cannot be read, is empty or is not UTF-8.
    """
    return Prose(file.name, read_text(file)) if file else Prose(f"{_source()}, last part", last_part(_topics()))


def names_of(texts: Sequence[Prose]) -> str:
    """Return the names of the texts, separated by commas."""
    return ", ".join(text.name for text in texts)


def sha256_of_texts(texts: Sequence[Prose]) -> str:
    """Return what identifies the texts: the SHA-256 of the only one, or that of the SHA-256s of all, a line each."""
    if len(texts) == 1:
        return texts[0].sha256
    return sha256("".join(f"{text.sha256}\n" for text in texts).encode()).hexdigest()


def read_text(file: Path) -> str:
    """Return the text of the file. Raises BadInput where it cannot be read, is empty or is not UTF-8."""
    try:
        content = file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file}: the text cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: the text is not UTF-8 (byte {error.start}). Convert it to UTF-8.") from error
    if not content.strip():
        raise BadInput(f"{file}: the text is empty.")
    return content


def _topics() -> list[str]:
    from pydoc_data.topics import topics  # large, and only needed here

    return [topics[name] for name in sorted(topics)]


def _source() -> str:
    return f"pydoc_data.topics of Python {sys.version_info.major}.{sys.version_info.minor}"
