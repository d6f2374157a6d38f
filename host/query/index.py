"""The index of a query: the evaluated cells of every campaign that was queried, kept in the cache.

It is one DuckDB file. The results folders stay the record: a campaign is evaluated again when its files change, and
another version of the code that evaluates starts another index. Deleting it loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from math import isfinite
from multiprocessing import get_context, parent_process
from pathlib import Path

import duckdb

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.lock import exclusive
from smoothdroid.host.query.tables import TABLES, Facts, rows_of
from smoothdroid.host.results.record import CAMPAIGN, RUNS, SAMPLES

FEW = 4
"""The number of campaigns that are evaluated in this process: starting another takes about as long."""

Stamp = str
"""Sizes and modification times of a campaign's files; a different stamp means a different content."""

OnProgress = Callable[[str, int, int], None]
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class UpToDateIndex:
    """The index, up to date for the requested campaigns."""

    path: Path
    campaigns: list[str]
    """Folders of the campaigns that can be read."""
    damaged: list[str]
    """Messages about the others."""


@contextmanager
def current(
    folders: Iterable[Path],
    *,
    again: bool = False,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
) -> Iterator[UpToDateIndex]:
    """Bring the index up to date for `folders`, and keep others from changing it while the block runs.

    What was evaluated before Ctrl-C is kept. `again` evaluates everything anew.
    """
    place = home()
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"index-{rules()}.duckdb"
    with exclusive(place / ".lock", wait=True, on_wait=_waits(on_step)):
        for file in place.glob("index-*"):
            if not file.name.startswith(path.name):
                file.unlink()  # of another version
        with closing(_opened(path)) as index:
            updated = _update(index, path, [str(folder.absolute()) for folder in folders], again, on_progress)
        yield updated


def home() -> Path:
    """Return the folder of the index."""
    return cache_root() / "query"


@cache
def rules() -> str:
    """Return the version of the evaluation: a hash of its code and data, and of this package."""
    top = Path(__file__).parents[2]
    folders = ("device/info", "device/telemetry", "host/llamacpp", "host/results", "host/report/data", "host/query")
    files = sorted(file for folder in folders for file in (top / folder).rglob("*") if file.suffix in (".py", ".toml"))
    hashes = "".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def stamp(folder: Path) -> Stamp:
    """Return the stamp of a campaign; for samples, written before their run is recorded, the folder is enough."""
    parts = []
    for name in (CAMPAIGN, RUNS, SAMPLES):
        try:
            status = (folder / name).stat()
            parts.append(f"{status.st_mtime_ns}:{status.st_size}")
        except FileNotFoundError:
            parts.append("-")
    return " ".join(parts)


def _waits(on_step: OnStep | None) -> Callable[[], None] | None:
    return (lambda: on_step("another query is running; waiting for it")) if on_step else None


def _opened(path: Path) -> duckdb.DuckDBPyConnection:
    """Open the index; start an empty one where it is missing or unreadable (a crash, another version of DuckDB)."""
    try:
        return _created(path)
    except duckdb.Error:
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        try:
            return _created(path)
        except duckdb.Error as error:
            raise BadInput(
                f"the query index {path} cannot be created: {str(error).splitlines()[0]}. If the cache is on a file "
                "system without locks, set SMOOTHDROID_CACHE to another folder"
            ) from error


def _created(path: Path) -> duckdb.DuckDBPyConnection:
    index = duckdb.connect(path)
    index.execute("CREATE SEQUENCE IF NOT EXISTS numbers")
    index.execute("CREATE TABLE IF NOT EXISTS judged (campaign VARCHAR, stamp VARCHAR, damage VARCHAR, number INTEGER)")
    create_tables(index)
    return index


def create_tables(connection: duckdb.DuckDBPyConnection, schema: str = "main") -> None:
    """Create the tables of queries that do not exist yet."""
    for table in TABLES:
        columns = ", ".join(f"{column.name} {column.kind}" for column in table.columns)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {schema}.{table.name} (campaign_number INTEGER, {columns})")


def _update(
    index: duckdb.DuckDBPyConnection, path: Path, folders: Sequence[str], again: bool, on_progress: OnProgress | None
) -> UpToDateIndex:
    stamps = {folder: stamp(Path(folder)) for folder in folders}
    known = {} if again else dict(index.execute("SELECT campaign, stamp FROM judged").fetchall())
    stale = [folder for folder, now in stamps.items() if known.get(folder) != now]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".evaluating-") as work:
        for number, (folder, rows) in enumerate(_evaluate_all(stale, Path(work)), 1):
            _replace(index, folder, stamps[folder], rows)
            if on_progress:
                on_progress("evaluating campaigns", number, len(stale))
    damage = dict(index.execute("SELECT campaign, damage FROM judged").fetchall())
    whole = [folder for folder in folders if not damage[folder]]
    return UpToDateIndex(path, whole, [damage[folder] for folder in folders if damage[folder]])


@dataclass(frozen=True)
class _Rows:
    """The rows of one campaign, in files."""

    files: dict[str, Path]
    """A file with a JSON object per line for each table, by its name."""
    damage: str = ""


def _evaluate_all(folders: Sequence[str], work: Path) -> Iterator[tuple[str, _Rows]]:
    """Evaluate campaigns, and yield the rows of each when it is done."""
    if len(folders) < FEW:
        yield from ((folder, _evaluate(folder, work / str(number))) for number, folder in enumerate(folders))
        return
    # Spawned and not forked, because DuckDB has threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_begin_worker) as pool:
        folder_of = {
            pool.submit(_evaluate, folder, work / str(number)): folder for number, folder in enumerate(folders)
        }
        try:
            for done in as_completed(folder_of):
                yield folder_of[done], done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is killed: the pool would wait for work forever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _evaluate(folder: str, files: Path) -> _Rows:
    """Write one campaign's rows to files; a damaged record gives a message instead, and does not affect others."""
    try:
        rows = rows_of(Path(folder))
    except (BadInput, OSError) as error:
        return _Rows({}, str(error))
    except (ValueError, ArithmeticError, LookupError, StopIteration) as error:
        return _Rows({}, f"{folder} is damaged: {error or type(error).__name__}")
    written = {}
    for table, facts in rows.items():
        written[table] = files.with_suffix(f".{table}")
        written[table].write_text("".join(f"{_line(row)}\n" for row in facts), encoding="utf-8")
    return _Rows(written)


def _line(row: Facts) -> str:
    """Return a row as JSON; infinite values, which JSON lacks, become null."""
    known = {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in row.items()}
    return json.dumps(known)


def _replace(index: duckdb.DuckDBPyConnection, folder: str, now: Stamp, rows: _Rows) -> None:
    """Replace all rows of a campaign; where a column cannot hold one, by a message and no rows."""
    try:
        _write(index, folder, now, rows)
    except (duckdb.DataError, duckdb.InvalidInputException) as error:  # a number that a column cannot hold
        message = str(error).splitlines()[0]
        _write(index, folder, now, _Rows({}, f"{folder} is damaged: {message}"))
    finally:
        for file in rows.files.values():
            file.unlink()


def _write(index: duckdb.DuckDBPyConnection, folder: str, now: Stamp, rows: _Rows) -> None:
    index.begin()
    try:
        for (old,) in index.execute("DELETE FROM judged WHERE campaign = ? RETURNING number", [folder]).fetchall():
            for table in TABLES:
                index.execute(f"DELETE FROM {table.name} WHERE campaign_number = ?", [old])  # noqa: S608
        insert = "INSERT INTO judged VALUES (?, ?, ?, nextval('numbers')) RETURNING number"
        number = index.execute(insert, [folder, now, rows.damage]).fetchall()[0][0]
        for table in TABLES:
            if table.name in rows.files:
                columns = {column.name: column.kind for column in table.columns}
                read = f"INSERT INTO {table.name} SELECT ?, * FROM read_json(?, format='newline_delimited', columns=?)"  # noqa: S608
                index.execute(read, [number, str(rows.files[table.name]), columns])
        index.commit()
    except BaseException:
        index.rollback()
        raise
