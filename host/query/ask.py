"""One question in SQL, answered from the index, and from nothing else: DuckDB opens no other file for it."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb
from duckdb import DuckDBPyConnection, DuckDBPyRelation, StatementType

from smoothdroid.device.common.atomic_file import replacing, temporary_name
from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.query.index import Current, create_tables, home
from smoothdroid.host.query.tables import TABLES, Table
from smoothdroid.host.report.data.safe_text import csv_cell

READS = (StatementType.SELECT, StatementType.EXPLAIN)
_CHOOSE = """
CREATE TABLE chosen AS
SELECT * FROM stored.campaigns SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS campaign) USING (campaign)
"""
AT_ONCE = 2048  # rows, as many as DuckDB computes at once
NAMES = ", ".join(table.name for table in TABLES)


@dataclass(frozen=True)
class Output:
    """A file for an answer."""

    path: Path
    kind: Literal["csv", "parquet"]

    def check(self, *, replace: bool) -> None:
        """Raises BadInput when it cannot be written: its folder, what is there."""
        if not self.path.parent.is_dir():
            raise BadInput(f"there is no folder {self.path.parent} for {self.path.name}: make it first")
        if self.path.is_dir():
            raise BadInput(f"{self.path} is a folder")
        if self.path.exists() and not replace:
            raise BadInput(f"{self.path} is there already: --force replaces it")


class Answer:
    """What a query gives; computed when it is asked for."""

    def __init__(self, connection: DuckDBPyConnection, relation: DuckDBPyRelation, sql: str) -> None:
        self._connection, self._relation, self._sql = connection, relation, sql
        self.columns = list(relation.columns)

    def rows(self, most: int | None = None) -> Iterator[list[Any]]:
        """All of them, or so many; what is not finite is None. Raises BadInput when a row cannot be computed."""
        with _explained(self._sql):
            self._connection.execute(self._sql)
        left = math.inf if most is None else most
        while left > 0:
            with _explained(self._sql):
                some = self._connection.fetchmany(int(min(left, AT_ONCE)))
            if not some:
                return
            left -= len(some)
            yield from ([_plain(value) for value in row] for row in some)

    def write(self, output: Output) -> None:
        """There whole or not at all. Raises BadInput as `rows`, or OSError."""
        self.check_names()
        with replacing(output.path.absolute()) as new, _explained(self._sql):
            if output.kind == "parquet":
                self._relation.write_parquet(str(new), compression="zstd")
            else:
                self._write_csv(new)

    def _write_csv(self, new: Path) -> None:
        """Texts in it are written as a report writes them: to a spreadsheet, none is a formula."""
        with new.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([csv_cell(name) for name in self.columns])
            for row in self.rows():
                writer.writerow([_csv(value) for value in row])

    def check_names(self) -> None:
        """Raises BadInput where two columns have one name: outside a table they cannot be told apart."""
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise BadInput(f"two columns are called `{name}`: name them apart with AS")


def check(sql: str) -> None:
    """Raises BadInput, with the names there are, for what is no query of these tables. Nothing is judged for it."""
    with closing(duckdb.connect()) as connection:
        connection.execute("ATTACH ':memory:' AS stored")
        create_tables(connection, "stored")
        _close_in(connection, [], None)
        _relation(connection, sql)


@contextmanager
def asked(sql: str, index: Current, output: Output | None = None) -> Iterator[Answer]:
    """The answer, which may be written to `output`. Raises BadInput as `check`."""
    with _connected(index, output) as connection:
        yield Answer(connection, _relation(connection, sql), sql)


def is_emulated(index: Current) -> bool:
    """Whether a campaign of these was measured on an emulated phone."""
    with _connected(index, None) as connection:
        return bool(connection.execute("SELECT bool_or(emulated) FROM campaigns").fetchall()[0][0])


@contextmanager
def _connected(index: Current, output: Output | None) -> Iterator[DuckDBPyConnection]:
    # What does not fit in memory goes beside the index, not into the user's folder.
    with closing(duckdb.connect(config={"temp_directory": str(home() / "spilled")})) as connection:
        quoted = str(index.path).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS stored (READ_ONLY)")
        _close_in(connection, index.campaigns, output)
        yield connection


def _close_in(connection: DuckDBPyConnection, campaigns: list[str], output: Output | None) -> None:
    """Give a connection the tables of these campaigns, and no way out of them."""
    connection.execute(_CHOOSE, [campaigns])
    for table in TABLES:
        connection.execute(_view(table))
    connection.execute("SET python_enable_replacements = false")  # else `FROM x` finds Python's variables
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    if output:
        connection.execute("SET allowed_paths = ?", [[str(temporary_name(output.path.absolute()))]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _view(table: Table) -> str:
    own = [f"own.{column.name}" for column in table.columns]
    shared = [f"chosen.{column.name}" for column in table.shared]
    source = f"stored.{table.name} own JOIN chosen USING (campaign_number)" if shared else "chosen own"
    return f"CREATE VIEW {table.name} AS SELECT {', '.join([*shared, *own])} FROM {source}"  # noqa: S608


def _relation(connection: DuckDBPyConnection, sql: str) -> DuckDBPyRelation:
    with _explained(sql):
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in READS:
            raise BadInput(f"`{sql}` is not one SELECT: results are read here, and changed by measuring")
        relation = connection.sql(sql)
    if relation is None:
        raise BadInput(f"`{sql}` has no answer")
    return relation


@contextmanager
def _explained(sql: str) -> Iterator[None]:
    """DuckDB's errors as ours: its first line, and the names that there are."""
    try:
        yield
    except duckdb.Error as error:
        # Without the query with an arrow under it, and without the guess at a name, which is of DuckDB's own tables.
        said = " ".join(re.split(r"\n\n|\nLINE |\nDid you mean", str(error))[0].split())
        if isinstance(error, duckdb.PermissionException):
            raise BadInput(f"a query reads {NAMES} and nothing else: {said}") from error
        if isinstance(error, duckdb.CatalogException):
            raise BadInput(
                f"{said} (the tables: {NAMES}; `smoothdroid query --tables` says what is in them)"
            ) from error
        if isinstance(error, duckdb.BinderException):
            raise BadInput(f"{said} ({_columns_named(sql)})") from error
        raise BadInput(f"the query cannot be answered: {said}") from error


def _columns_named(sql: str) -> str:
    """Of the tables that a query mentions, or of all."""
    mentioned = [table for table in TABLES if table.name in sql.lower()] or TABLES
    return "; ".join(f"{table.name} has {', '.join(column.name for column in table.shown)}" for table in mentioned)


def _csv(value: Any) -> str:  # noqa: ANN401 (whatever SQL gives)
    """A value for CSV in DuckDB's words: nothing for NULL, `true`, `[1.5, 2.0]`. Only texts can be formulas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else csv_cell(str(value))


def _plain(value: Any) -> Any:  # noqa: ANN401 (whatever SQL gives)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
