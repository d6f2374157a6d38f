"""Suggestions for a name that is unknown: the known name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a misspelled one; None where none is alike."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "did you mean `i8mm`?" where a known name is close, else "known: dotprod, i8mm"."""
    names = list(known)
    meant = closest(name, names)
    return f"did you mean `{meant}`?" if meant else f"known: {', '.join(names) or 'none'}"
