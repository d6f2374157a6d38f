"""The execution of one SQL query on the index; DuckDB opens no other file for it."""

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
from smoothdroid.host.query.index import UpToDateIndex, create_tables, home
from smoothdroid.host.query.tables import TABLES, QueryTable
from smoothdroid.host.report.data.safe_text import csv_cell

READS = (StatementType.SELECT, StatementType.EXPLAIN)
_CHOOSE = """
CREATE TABLE chosen AS
SELECT * FROM stored.campaigns SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS campaign) USING (campaign)
"""
AT_ONCE = 2048
"""Rows that are fetched at once, as many as DuckDB computes at once."""
NAMES = ", ".join(table.name for table in TABLES)


@dataclass(frozen=True)
class QueryOutput:
    """A file for the result of a query."""

    path: Path
    kind: Literal["csv", "parquet"]

    def check(self, *, replace: bool) -> None:
        """Raise BadInput where its folder is missing, it is a folder, or it exists and is not to be replaced."""
        if not self.path.parent.is_dir():
            raise BadInput(f"folder {self.path.parent} does not exist: create it before writing {self.path.name}")
        if self.path.is_dir():
            raise BadInput(f"{self.path} is a folder")
        if self.path.exists() and not replace:
            raise BadInput(f"{self.path} already exists: --force replaces it")


class QueryResult:
    """The result of a query, computed when its rows are read or written."""

    def __init__(self, connection: DuckDBPyConnection, relation: DuckDBPyRelation, sql: str) -> None:
        """Keep the open connection, and the query both as a relation and as text."""
        self._connection, self._relation, self._sql = connection, relation, sql
        self.columns = list(relation.columns)

    def rows(self, most: int | None = None) -> Iterator[list[Any]]:
        """Yield all rows, or at most `most`; infinite values are None. Raises BadInput where the query fails."""
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

    def write(self, output: QueryOutput) -> None:
        """Write the file, whole or not at all. Raises BadInput as `rows`, or OSError."""
        self.check_names()
        with replacing(output.path.absolute()) as new, _explained(self._sql):
            if output.kind == "parquet":
                self._relation.write_parquet(str(new), compression="zstd")
            else:
                self._write_csv(new)

    def _write_csv(self, new: Path) -> None:
        """Write texts as a report writes them: a spreadsheet takes none of them for a formula."""
        with new.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([csv_cell(name) for name in self.columns])
            for row in self.rows():
                writer.writerow([_csv(value) for value in row])

    def check_names(self) -> None:
        """Raise BadInput where two columns share a name: a file or JSON cannot keep them apart."""
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise BadInput(f"two columns are called `{name}`: rename one with AS")


def check(sql: str) -> None:
    """Raise BadInput, with the existing names, for an invalid query; no campaign is evaluated for it."""
    with closing(duckdb.connect()) as connection:
        connection.execute("ATTACH ':memory:' AS stored")
        create_tables(connection, "stored")
        _restrict(connection, [], None)
        _relation(connection, sql)


@contextmanager
def run_query(sql: str, index: UpToDateIndex, output: QueryOutput | None = None) -> Iterator[QueryResult]:
    """Provide the result of a query, which may be written to `output`. Raises BadInput as `check`."""
    with _connected(index, output) as connection:
        yield QueryResult(connection, _relation(connection, sql), sql)


def is_emulated(index: UpToDateIndex) -> bool:
    """Return whether any of these campaigns was measured on an emulated phone."""
    with _connected(index, None) as connection:
        return bool(connection.execute("SELECT bool_or(emulated) FROM campaigns").fetchall()[0][0])


@contextmanager
def _connected(index: UpToDateIndex, output: QueryOutput | None) -> Iterator[DuckDBPyConnection]:
    # Data that does not fit in memory is spilled next to the index, not into the user's folder.
    with closing(duckdb.connect(config={"temp_directory": str(home() / "spilled")})) as connection:
        quoted = str(index.path).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS stored (READ_ONLY)")
        _restrict(connection, index.campaigns, output)
        yield connection


def _restrict(connection: DuckDBPyConnection, campaigns: list[str], output: QueryOutput | None) -> None:
    """Give a connection the tables of these campaigns, and access to nothing else."""
    connection.execute(_CHOOSE, [campaigns])
    for table in TABLES:
        connection.execute(_view(table))
    connection.execute("SET python_enable_replacements = false")  # otherwise `FROM x` finds Python's variables
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    if output:
        connection.execute("SET allowed_paths = ?", [[str(temporary_name(output.path.absolute()))]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _view(table: QueryTable) -> str:
    own = [f"own.{column.name}" for column in table.columns]
    shared = [f"chosen.{column.name}" for column in table.shared]
    source = f"stored.{table.name} own JOIN chosen USING (campaign_number)" if shared else "chosen own"
    return f"CREATE VIEW {table.name} AS SELECT {', '.join([*shared, *own])} FROM {source}"  # noqa: S608


def _relation(connection: DuckDBPyConnection, sql: str) -> DuckDBPyRelation:
    with _explained(sql):
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in READS:
            raise BadInput(f"`{sql}` is not a single SELECT: a query only reads results")
        relation = connection.sql(sql)
    if relation is None:
        raise BadInput(f"`{sql}` returns no rows or columns")
    return relation


@contextmanager
def _explained(sql: str) -> Iterator[None]:
    """Convert DuckDB's errors to BadInput, with their first line and the existing names."""
    try:
        yield
    except duckdb.Error as error:
        # The query with its arrow is dropped, and so is the suggested name, which is one of DuckDB's own tables.
        message = " ".join(re.split(r"\n\n|\nLINE |\nDid you mean", str(error))[0].split())
        if isinstance(error, duckdb.PermissionException):
            raise BadInput(f"a query can read {NAMES} only: {message}") from error
        if isinstance(error, duckdb.CatalogException):
            raise BadInput(f"{message} (tables: {NAMES}; `smoothdroid query --tables` lists their columns)") from error
        if isinstance(error, duckdb.BinderException):
            raise BadInput(f"{message} ({_columns_named(sql)})") from error
        raise BadInput(f"the query failed: {message}") from error


def _columns_named(sql: str) -> str:
    """Return the columns of the tables that a query mentions, or of all."""
    mentioned = [table for table in TABLES if table.name in sql.lower()] or TABLES
    return "; ".join(f"{table.name} has {', '.join(column.name for column in table.shown)}" for table in mentioned)


def _csv(value: Any) -> str:  # noqa: ANN401 (whatever SQL gives)
    """Return a value for CSV as DuckDB writes it: empty for NULL, `true`, `[1.5, 2.0]`; texts cannot be formulas."""
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
