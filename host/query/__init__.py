"""Queries over all results in SQL; the only package that imports duckdb."""

from __future__ import annotations

from importlib.util import find_spec

from smoothdroid.device.common import system
from smoothdroid.device.common.errors import BadInput


def need_duckdb() -> None:
    """Raise BadInput where DuckDB is not installed."""
    try:
        found = find_spec("duckdb")
    except ImportError:
        found = None
    if not found:
        raise BadInput(f"querying results needs DuckDB: {system.this().fix('duckdb')}")
