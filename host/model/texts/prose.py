"""The prose that every CPython carries, in two parts: one to calibrate on, one to be evaluated on.

A model that is evaluated on the text of its calibration looks better than it is. Calibration draws its windows from
anywhere in its text, by seed, so the two need texts of their own. Needs no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from smoothdroid.device.common.errors import BadInput

# The share of the text to calibrate on. The other quarter is some 25,000 tokens: enough for 40 windows of 512, and
# calibration keeps three times that.
CALIBRATION_SHARE = 0.75

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


def split(topics: list[str]) -> tuple[str, str]:
    """Split into (calibration, evaluation): the first topics, and each paragraph of the others that is nowhere else.

    Cut between topics, so that no sentence is in both. A topic of Python's documentation may repeat another whole
    (`compound` holds `for`, `while` and `try`): a fifth of the paragraphs occur twice, hence the second look.
    """
    calibration: list[str] = []
    wanted = CALIBRATION_SHARE * sum(map(len, topics))
    while sum(map(len, calibration)) < wanted:
        calibration.append(topics[len(calibration)])
    seen = {paragraph.strip() for topic in calibration for paragraph in topic.split(PARAGRAPH)}
    evaluation: list[str] = []
    for topic in topics[len(calibration) :]:
        for paragraph in topic.split(PARAGRAPH):
            if paragraph.strip() not in seen:
                seen.add(paragraph.strip())
                evaluation.append(paragraph)
    return PARAGRAPH.join(calibration), PARAGRAPH.join(evaluation)


def calibration_prose() -> Prose:
    """Return the text that is calibrated on where the user gives none: the first part of Python's prose (350 KB)."""
    return Prose(f"{_source()}, first part", split(_topics())[0])


def evaluation_prose(file: Path | None) -> Prose:
    """Return the text to evaluate on: the user's, or the part of Python's prose that calibration does not draw from.

    Raises BadInput where the file cannot be read, is empty or is not UTF-8.
    """
    return Prose(file.name, read_text(file)) if file else Prose(f"{_source()}, last part", split(_topics())[1])


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
