"""Parquet files of calibration texts, read through DuckDB, which is imported only for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from smoothdroid.device.common import system
from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.texts.records import MESSAGES, Conversation, value_of

SOME_ROWS = 256  # fetched at once


def read_parquet(path: Path, field: str | None) -> Iterator[str | Conversation]:
    """Yield the text or the conversation in the column `field` of each row.

    Raises BadInput where DuckDB is not installed, the file is no Parquet, or the column is missing or holds neither.
    """
    if not path.is_file():
        raise BadInput(f"{path}: the file cannot be read: there is no such file.")
    if find_spec("duckdb") is None:
        raise BadInput(f"{path}: reading Parquet needs DuckDB: {system.this().fix('duckdb')}. Or give JSONL.")
    import duckdb

    wanted = field or MESSAGES
    with closing(duckdb.connect()) as connection:
        try:
            described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [_literal(path)]).fetchall()
            columns = [str(name) for name, *_ in described]
            if wanted not in columns:
                value_of(dict.fromkeys(columns), field, str(path))  # says which columns there are
            quoted = wanted.replace('"', '""')
            connection.execute(f'SELECT "{quoted}" FROM read_parquet(?)', [_literal(path)])  # noqa: S608 (quoted)
            number = 0
            while rows := connection.fetchmany(SOME_ROWS):
                for (value,) in rows:
                    number += 1
                    yield value_of({wanted: value}, wanted, f"{path}: row {number}")
        except duckdb.Error as error:
            raise BadInput(f"{path}: DuckDB cannot read it as Parquet: {error}") from error


def _literal(path: Path) -> str:
    """Return the path as a pattern that matches nothing else: DuckDB takes a path for one."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in str(path.absolute()))
