"""By what a file is known, here and on a phone."""

from __future__ import annotations

import hashlib
from pathlib import Path

AT_ONCE = 1 << 20  # bytes; a model is not read into memory whole


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while some := file.read(AT_ONCE):
            digest.update(some)
    return digest.hexdigest()
