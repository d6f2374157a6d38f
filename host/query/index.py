"""The index: what judging made of every campaign that was asked about, so that the next question need not judge again.

One DuckDB file in the cache. It is made from the results folders, which stay the record, and made again where a
campaign's files changed; another version of the code that judges begins another one. Deleting it loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from math import isfinite
from multiprocessing import get_context
from pathlib import Path

import duckdb

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.lock import exclusive
from smoothdroid.host.query.tables import TABLES, Facts, rows_of
from smoothdroid.host.results.record import CAMPAIGN, RUNS, SAMPLES

FEW = 4
"""Campaigns that are judged in this process: to start another takes about as long."""

Stamp = str
"""Of a campaign's files: sizes and times of change. Another stamp, another content."""

OnProgress = Callable[[str, int, int], None]
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Current:
    """The index, up to date for the campaigns that were asked for."""

    path: Path
    campaigns: list[str]
    """Those that are whole: their folders."""
    damaged: list[str]
    """The others, and what is wrong with them."""


@contextmanager
def current(
    folders: Iterable[Path],
    *,
    again: bool = False,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Current]:
    """The index, up to date for `folders`, which nobody changes while the block runs.

    What is judged when Ctrl-C comes stays judged. `again` judges all anew.
    """
    place = home()
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"index-{rules()}.duckdb"
    with exclusive(place / ".lock", wait=True, on_wait=_waits(on_step)):
        for file in place.glob("index-*"):
            if not file.name.startswith(path.name):
                file.unlink()  # of other rules
        with closing(_opened(path)) as index:
            found = _update(index, path, [str(folder.absolute()) for folder in folders], again, on_progress)
        yield found


def home() -> Path:
    """Where the index is kept."""
    return cache_root() / "query"


@cache
def rules() -> str:
    """The version of what judges: a hash of its code and its tables, and of what is here."""
    top = Path(__file__).parents[2]
    folders = ("device/info", "device/telemetry", "host/results", "host/report/data", "host/query")
    files = sorted(file for folder in folders for file in (top / folder).rglob("*") if file.suffix in (".py", ".toml"))
    told = "".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def stamp(folder: Path) -> Stamp:
    """Samples are written once, before the run that they belong to is recorded: their folder's time is enough."""
    told = []
    for name in (CAMPAIGN, RUNS, SAMPLES):
        try:
            found = (folder / name).stat()
            told.append(f"{found.st_mtime_ns}:{found.st_size}")
        except FileNotFoundError:
            told.append("-")
    return " ".join(told)


def _waits(on_step: OnStep | None) -> Callable[[], None] | None:
    return (lambda: on_step("another query is at work; waiting for it")) if on_step else None


def _opened(path: Path) -> duckdb.DuckDBPyConnection:
    """The index; an empty one where there is none, or where it cannot be read: a dead machine, another DuckDB."""
    try:
        return _created(path)
    except duckdb.Error:
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        try:
            return _created(path)
        except duckdb.Error as error:
            raise BadInput(
                f"the index of queries, {path}, cannot be made: {str(error).splitlines()[0]}. Where the cache lies on "
                "a file system without locks, name another folder for it (SMOOTHDROID_CACHE)"
            ) from error


def _created(path: Path) -> duckdb.DuckDBPyConnection:
    index = duckdb.connect(path)
    index.execute("CREATE SEQUENCE IF NOT EXISTS numbers")
    index.execute("CREATE TABLE IF NOT EXISTS judged (campaign VARCHAR, stamp VARCHAR, damage VARCHAR, number INTEGER)")
    create_tables(index)
    return index


def create_tables(connection: duckdb.DuckDBPyConnection, schema: str = "main") -> None:
    """Those that are asked, where they are not there yet."""
    for table in TABLES:
        columns = ", ".join(f"{column.name} {column.kind}" for column in table.columns)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {schema}.{table.name} (campaign_number INTEGER, {columns})")


def _update(
    index: duckdb.DuckDBPyConnection, path: Path, folders: Sequence[str], again: bool, on_progress: OnProgress | None
) -> Current:
    stamps = {folder: stamp(Path(folder)) for folder in folders}
    known = {} if again else dict(index.execute("SELECT campaign, stamp FROM judged").fetchall())
    stale = [folder for folder, now in stamps.items() if known.get(folder) != now]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".judging-") as work:
        for number, (folder, rows) in enumerate(_judged_all(stale, Path(work)), 1):
            _replace(index, folder, stamps[folder], rows)
            if on_progress:
                on_progress("judging campaigns", number, len(stale))
    told = dict(index.execute("SELECT campaign, damage FROM judged").fetchall())
    whole = [folder for folder in folders if not told[folder]]
    return Current(path, whole, [told[folder] for folder in folders if told[folder]])


@dataclass(frozen=True)
class _Rows:
    """Of one campaign, on disk."""

    files: dict[str, Path]
    """Table -> a file with a JSON object a line."""
    damage: str = ""


def _judged_all(folders: Sequence[str], work: Path) -> Iterator[tuple[str, _Rows]]:
    """As they come."""
    if len(folders) < FEW:
        yield from ((folder, _judge(folder, work / str(number))) for number, folder in enumerate(folders))
        return
    # Not forked: DuckDB has threads. Ctrl-C is this process's to handle.
    ignored = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=signal.signal, initargs=ignored) as pool:
        asked = {pool.submit(_judge, folder, work / str(number)): folder for number, folder in enumerate(folders)}
        try:
            for done in as_completed(asked):
                yield asked[done], done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _judge(folder: str, files: Path) -> _Rows:
    """One campaign's rows. Whatever is wrong with its record is said, and the others are not held up by it."""
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
    """What is not finite, which JSON has not, becomes null."""
    known = {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in row.items()}
    return json.dumps(known)


def _replace(index: duckdb.DuckDBPyConnection, folder: str, now: Stamp, rows: _Rows) -> None:
    """All of a campaign's rows, or none and what is wrong with it."""
    try:
        _write(index, folder, now, rows)
    except (duckdb.DataError, duckdb.InvalidInputException) as error:  # a number beyond what a column holds
        said = str(error).splitlines()[0]
        _write(index, folder, now, _Rows({}, f"{folder} is damaged: {said}"))
    finally:
        for file in rows.files.values():
            file.unlink()


def _write(index: duckdb.DuckDBPyConnection, folder: str, now: Stamp, rows: _Rows) -> None:
    index.begin()
    try:
        for (old,) in index.execute("DELETE FROM judged WHERE campaign = ? RETURNING number", [folder]).fetchall():
            for table in TABLES:
                index.execute(f"DELETE FROM {table.name} WHERE campaign_number = ?", [old])  # noqa: S608
        told = "INSERT INTO judged VALUES (?, ?, ?, nextval('numbers')) RETURNING number"
        number = index.execute(told, [folder, now, rows.damage]).fetchall()[0][0]
        for table in TABLES:
            if table.name in rows.files:
                columns = {column.name: column.kind for column in table.columns}
                read = f"INSERT INTO {table.name} SELECT ?, * FROM read_json(?, format='newline_delimited', columns=?)"  # noqa: S608
                index.execute(read, [number, str(rows.files[table.name]), columns])
        index.commit()
    except BaseException:
        index.rollback()
        raise
