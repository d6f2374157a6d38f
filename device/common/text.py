"""Text from phones, files and models, made fit to be shown: nothing in it acts on what stands around it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

REPLACEMENT = "\ufffd"

# Control characters but newline and tab; what turns or hides the text around it (Unicode's bidirectional controls, its
# deprecated ones and its tags); half a character, which no terminal or file can be sent; what XML does not allow.
ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The same text with its lines; what acts instead of being seen becomes a replacement character."""
    return ACTS.sub(REPLACEMENT, text)


def closest(text: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most like a misspelled one; None where none is alike."""
    return next(iter(difflib.get_close_matches(text, known, n=1)), None)
