"""The end of a message about an unknown name: the name that was probably meant, or all names there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "did you mean `i8mm`?" where a known name is close, else "known: dotprod, i8mm"."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(names) or 'none'}"
