"""Text from phones, files and models, made safe to print: no control characters, no bidirectional controls."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"

# Control characters except newline and tab; what reverses or hides the text around it (Unicode's bidirectional
# controls, deprecated controls and tags); surrogates, which cannot be encoded; what XML does not allow.
ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Return the text with everything that is not displayed as itself replaced by U+FFFD; lines and tabs stay."""
    return ACTS.sub(REPLACEMENT, text)
