"""The cache of reference log-probabilities: a file for each reference, text, kernel and size."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from smoothdroid.device.common.atomic_file import publish
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.model.evaluate.logits import SavedLogits, open_logits

CACHE_LIMIT_BYTES = 8 << 30
"""The size beyond which the references used longest ago are removed: one of 16 windows is 0.4 GB with a vocabulary of
49,000 tokens, 1 GB with 128,000."""


@dataclass(frozen=True)
class CachedLogits:
    """The cached log-probabilities of one reference in the folder `folder`; `inputs` is all that decides them."""

    folder: Path
    inputs: tuple[str | int, ...]

    @property
    def path(self) -> Path:
        """The file of the log-probabilities, whether it exists or not."""
        return self.folder / f"{sha256(json.dumps(self.inputs).encode()).hexdigest()[:32]}.logits"

    def read(self) -> SavedLogits | None:
        """Return the log-probabilities if they are cached and whole, and mark them as used now."""
        try:
            saved = open_logits(self.path)
            os.utime(self.path)
        except (OSError, SmoothdroidError):
            return None
        return saved

    def store(self, file: Path) -> SavedLogits:
        """Move the file into the cache."""
        publish(file, self.path)
        return open_logits(self.path)

    def make_room(self, reference_bytes: int, candidate_bytes: int) -> None:
        """Remove the references used longest ago beyond CACHE_LIMIT_BYTES, but not this one.

        Raises BadInput when the disk has no room for what is to be written.
        """
        by_use = sorted(self.folder.glob("*.logits"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in by_use) + reference_bytes
        for path in by_use:
            if total > CACHE_LIMIT_BYTES and path != self.path:
                total -= path.stat().st_size
                path.unlink()
        needed, free = reference_bytes + candidate_bytes, shutil.disk_usage(self.folder).free
        if free < needed:
            raise BadInput(
                f"{self.folder}: the log-probabilities take {needed / 1e9:.2f} GB there and {free / 1e9:.2f} GB are "
                "free. Free some, reduce the number of windows (--chunks), or move the cache with SMOOTHDROID_CACHE."
            )
