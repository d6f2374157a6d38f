"""Python packages that only some commands need: they are looked for before such a command does anything."""

from __future__ import annotations

from importlib.util import find_spec

from smoothdroid.device.common import system
from smoothdroid.device.common.errors import BadInput


def need_torch() -> None:
    """Raise BadInput where torch or transformers is not installed."""
    for package in ("torch", "transformers"):
        _need(package, f"preparing a model needs {package}", "torch")


def need_dask() -> None:
    """Raise BadInput where Dask is not installed."""
    _need("distributed", "phones on many machines need Dask", "dask")


def need_duckdb() -> None:
    """Raise BadInput where DuckDB is not installed."""
    _need("duckdb", "querying results needs DuckDB", "duckdb")


def _need(package: str, why: str, fix: str) -> None:
    """Raise BadInput where `package` is not installed. It is not imported, which may take seconds."""
    try:
        spec = find_spec(package)
    except ImportError:
        spec = None
    if spec is None:
        raise BadInput(f"{why}: {system.this().fix(fix)}")
