"""Models and builds on a lab machine, by content hash: each comes there once, in pieces, for all phones."""

from __future__ import annotations

import os
import re
from pathlib import Path

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.common.lock import exclusive


def there(sha256: str) -> int:
    """How many bytes of a file are here already."""
    whole, part = _paths(sha256)
    for path in (whole, part):
        if path.exists():
            return path.stat().st_size
    return 0


def take(sha256: str, offset: int, piece: bytes, size: int) -> int:
    """The bytes of a file from `offset` on; returns how many are here now. With the last one it is checked.

    A piece that came before, as after a broken connection, is left out. Raises BadInput when the whole is not what
    its hash says; then the next piece wanted is the first one.
    """
    whole, part = _paths(sha256)
    if whole.exists():
        return size
    part.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(part, wait=True), part.open("ab") as file:
        if file.tell() == offset and not whole.exists():
            file.write(piece)
            file.flush()
        now = file.tell()
        if now >= size and not whole.exists():
            if sha256_of(part) != sha256:
                part.unlink()
                raise BadInput("what came to the lab machine is not what was sent; try again")
            os.replace(part, whole)
    return now


def path(sha256: str) -> Path:
    """A file that is here whole. Raises BadInput when it is not."""
    whole, _ = _paths(sha256)
    if not whole.exists():
        raise BadInput(f"the lab machine has no file {sha256[:16]}; was its cache emptied meanwhile? Try again")
    return whole


def _paths(sha256: str) -> tuple[Path, Path]:
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise BadInput(f"{sha256[:80]!r} is no sha256")
    folder = cache_root() / "farm"
    return folder / sha256, folder / f"{sha256}.part"
