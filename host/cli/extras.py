"""Extras that a command needs. Looked for and not imported: this process stays light."""

from __future__ import annotations

from importlib.util import find_spec

from smoothdroid.device.common import system
from smoothdroid.device.common.errors import BadInput


def need_dask() -> None:
    """Raises BadInput without Dask."""
    if find_spec("distributed") is None:
        raise BadInput(f"phones on many machines need Dask: {system.this().fix('dask')}")


def need_torch() -> None:
    """Raises BadInput without torch or transformers."""
    for package in ("torch", "transformers"):
        try:
            found = find_spec(package)
        except ImportError:
            found = None
        if not found:
            raise BadInput(f"preparing a model needs {package}: {system.this().fix('torch')}")
