from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.texts import parquet
from smoothdroid.host.model.texts.parquet import read_parquet

duckdb = pytest.importorskip("duckdb")

ROWS = """SELECT [{'role': 'user', 'content': '안녕'}] AS messages, 'a "b' AS "the text", 5 AS number
          FROM range(300)"""


def write(file: Path, select: str = ROWS) -> Path:
    plain = file.parent / "plain.parquet"
    duckdb.sql(select).write_parquet(str(plain))
    return plain.rename(file)


# Characters that mean something in DuckDB's patterns, of which another file here would be a match.
@pytest.mark.parametrize("name", ["mine.parquet", "m[a-z]*?.parquet"])
def test_columns_are_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / "mzz.parquet", "SELECT 'another' AS messages")
    file = write(tmp_path / name)
    assert list(read_parquet(file, None)) == [[{"role": "user", "content": "안녕"}]] * 300
    assert list(read_parquet(file, "the text")) == ['a "b'] * 300


def test_wrong_columns_and_files_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.parquet")
    with pytest.raises(BadInput, match=r"mine\.parquet: no field 'text'; its fields are messages, the text, number"):
        list(read_parquet(file, "text"))
    with pytest.raises(BadInput, match=r"row 1: the field 'number' is neither a text nor"):
        list(read_parquet(file, "number"))
    with pytest.raises(BadInput, match="there is no such file"):
        list(read_parquet(tmp_path / "none.parquet", None))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(BadInput, match=r"mine\.parquet: DuckDB cannot read it as Parquet"):
        list(read_parquet(file, None))


def test_what_to_install_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "mine.parquet")
    monkeypatch.setattr(parquet, "find_spec", lambda _name: None)
    with pytest.raises(BadInput, match=r"reading Parquet needs DuckDB: .*smoothdroid\[query\]"):
        list(read_parquet(file, None))
