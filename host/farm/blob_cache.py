"""The blob cache of a lab machine: models and builds by content hash, each sent there once for all phones."""

from __future__ import annotations

import os
import re
from pathlib import Path

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.common.lock import exclusive


def there(sha256: str) -> int:
    """Return how many bytes of a file are in the cache."""
    whole, part = _paths(sha256)
    for path in (whole, part):
        if path.exists():
            return path.stat().st_size
    return 0


def take(sha256: str, offset: int, piece: bytes, size: int) -> int:
    """Append the bytes of a file from `offset` on, and return how many are in the cache; check it when it is whole.

    A piece that is there already, as after a broken connection, is left out. Raises BadInput when the whole file does
    not have its hash; then the next piece wanted is the first one.
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
                raise BadInput("the file was damaged on its way to the lab machine; run the same command again")
            os.replace(part, whole)
    return now


def path(sha256: str) -> Path:
    """Return the path of a complete file. Raises BadInput when it is not complete."""
    whole, _ = _paths(sha256)
    if not whole.exists():
        raise BadInput(
            f"the lab machine has no file {sha256[:16]}; was its cache emptied meanwhile? Run the same command again"
        )
    return whole


def _paths(sha256: str) -> tuple[Path, Path]:
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise BadInput(f"{sha256[:80]!r} is not a sha256")
    folder = cache_root() / "farm"
    return folder / sha256, folder / f"{sha256}.part"
