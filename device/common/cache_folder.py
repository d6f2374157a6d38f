"""The workstation's cache folder: sources, builds, downloads and the emulated phone's tree."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_root() -> Path:
    """Return the cache folder: $SMOOTHDROID_CACHE, or the user's cache folder (~/.cache/smoothdroid)."""
    chosen = os.environ.get("SMOOTHDROID_CACHE")
    return Path(chosen).absolute() if chosen else platformdirs.user_cache_path("smoothdroid")
