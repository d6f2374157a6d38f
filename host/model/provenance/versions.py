"""The versions of Python and of the packages that a file is made with."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a GGUF is made with."""
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in ("smoothdroid", "torch", "transformers", "gguf")},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # smoothdroid itself, where it is run from its source tree
