"""smoothdroid: prepare language models for Android phones, benchmark them there, and report checked results.

The functions below are the Python API; each does what the command of its name does. Errors that a user can fix are
SmoothdroidError. Importing this package is fast: what a function needs is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothdroid.api import bench as bench
    from smoothdroid.api import build as build
    from smoothdroid.api import compare as compare
    from smoothdroid.api import phones as phones
    from smoothdroid.api import prepare as prepare
    from smoothdroid.api import query as query
    from smoothdroid.api import read as read
    from smoothdroid.api import report as report
    from smoothdroid.cell_result import CellResult as CellResult
    from smoothdroid.device.common.errors import SmoothdroidError as SmoothdroidError
    from smoothdroid.host.model.prepare_settings import PrepareSettings as PrepareSettings

_HOME = {
    **dict.fromkeys(("bench", "build", "compare", "phones", "prepare", "query", "read", "report"), "smoothdroid.api"),
    "CellResult": "smoothdroid.cell_result",
    "PrepareSettings": "smoothdroid.host.model.prepare_settings",
    "SmoothdroidError": "smoothdroid.device.common.errors",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a function, a class or an error)
    """Import a name of the API when it is first used. Raises AttributeError for any other name."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return the names of the API."""
    return sorted([*globals(), *_HOME])
