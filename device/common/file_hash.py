"""The hash by which files are identified, on the workstation and on phones."""

from __future__ import annotations

import hashlib
from pathlib import Path

AT_ONCE = 1 << 20  # bytes; a model may not fit into memory


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()
