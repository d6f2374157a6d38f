from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from smoothdroid.device.common.atomic_file import temporary_name
from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.query import ask, index
from smoothdroid.host.query.index import UpToDateIndex
from smoothdroid.host.query.tables import TABLES
from smoothdroid.host.report.data.safe_text import csv_cell
from smoothdroid.host.results.record import find_campaigns
from tests.host.query.conftest import MEASURED


@pytest.fixture
def measured() -> Iterator[UpToDateIndex]:
    with index.current(find_campaigns([MEASURED])) as current:
        yield current


def rows(sql: str, current: UpToDateIndex) -> list[list[Any]]:
    with ask.run_query(sql, current) as answer:
        return list(answer.rows())


def test_a_question_is_answered(measured: UpToDateIndex) -> None:
    sql = "SELECT phone, count(*), count(tokens_per_s), round(max(tokens_per_s), 2) FROM cells GROUP BY ALL"
    assert rows(sql, measured) == [["Google Pixel 8", 40, 2, 9.69]]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_can_be_asked_for(measured: UpToDateIndex, table: Any) -> None:
    names = [column.name for column in table.shown]
    with ask.run_query(f"SELECT {', '.join(names)} FROM {table.name}", measured) as answer:  # noqa: S608
        assert answer.columns == names
        assert list(answer.rows())


def test_tables_are_joined_by_campaign_and_fingerprint(measured: UpToDateIndex) -> None:
    sql = "SELECT sum(len(samples_ts)) FROM runs JOIN cells USING (campaign, fingerprint) WHERE verdict = 'valid'"
    (((repetitions,),), ((told,),)) = (
        rows(sql, measured),
        rows("SELECT sum(repetitions) FROM cells WHERE verdict = 'valid'", measured),
    )
    assert repetitions == told > 0


def test_only_the_campaigns_that_were_asked_for_are_there(results: Path) -> None:
    with index.current([*find_campaigns([results]), *find_campaigns([MEASURED])]):
        pass
    with index.current(find_campaigns([results])) as current:
        assert rows("SELECT DISTINCT campaign FROM cells", current) == [[str(results / "measured")]]
        assert rows("SELECT campaign FROM campaigns", current) == [[str(results / "measured")]]
        assert rows("SELECT count(*) FROM runs", current) == [[26]]


def test_so_many_rows_and_no_more(measured: UpToDateIndex) -> None:
    with ask.run_query("FROM range(5000)", measured) as answer:
        assert len(list(answer.rows(3000))) == 3000
        assert [row for [row] in answer.rows()] == list(range(5000))


def test_what_is_not_finite_is_nothing(measured: UpToDateIndex) -> None:
    assert rows("SELECT 'inf'::DOUBLE, 'nan'::DOUBLE, 0.25", measured) == [[None, None, 0.25]]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW cells",
        "DELETE FROM stored.cells",
        "CREATE TABLE mine (a INT)",
        "SELECT 1; SELECT 2",
        "COPY cells TO 'out.csv'",
        "ATTACH 'other.duckdb'",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "PRAGMA database_list",
        "EXPLAIN ANALYZE COPY cells TO 'out.csv'",
        "",
    ],
)
def test_a_query_only_reads(measured: UpToDateIndex, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput):
        rows(sql, measured)
    assert not (tmp_path / "out.csv").exists()
    assert rows("SELECT count(*) FROM cells", measured) == [[40]]


SECRET = "nobody's business"


@pytest.mark.fault(
    "a query that would read other files or the environment",
    transport="workstation",
    outcome="it is refused",
)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{}')",
        "SELECT * FROM read_csv('{}')",
        "SELECT * FROM sniff_csv('{}')",
        "SELECT * FROM read_blob('{}')",
        "SELECT * FROM read_json('{}')",
        "SELECT * FROM read_parquet('{}')",
        "SELECT * FROM glob('{}*')",
        "FROM '{}'",
        "SELECT getenv('HOME')",
        "SELECT * FROM query('COPY cells TO ''{}''')",
    ],
)
def test_a_query_opens_no_other_file(measured: UpToDateIndex, sql: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text(f"a\n{SECRET}\n")
    written = ask.QueryOutput(tmp_path / "out.csv", "csv")
    for output in (None, written):
        with pytest.raises(BadInput) as refused, ask.run_query(sql.format(secret), measured, output) as answer:
            list(answer.rows())
        assert SECRET not in str(refused.value)
    assert secret.read_text() == f"a\n{SECRET}\n"


def test_a_query_sees_no_variable_of_ours(measured: UpToDateIndex) -> None:
    secrets = duckdb.sql("SELECT 1 AS a")
    with pytest.raises(BadInput, match="secrets does not exist"):
        rows("FROM secrets", measured)
    assert secrets


@pytest.mark.parametrize("check", [True, False], ids=["before the judging", "at the index"])
@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nonsense FROM cells", r'"nonsense" not found.*cells has campaign, phone.*verdict.*remark'),
        ("SELECT nonsense FROM runs", r'"nonsense" not found.*runs has campaign.*samples_ts'),
        ("SELECT * FROM nix", r"nix does not exist.*campaigns, cells, runs.*query --tables"),
        ("SELEC 1", r'syntax error at or near "SELEC"'),
        ("SELECT nix(1)", r"nix does not exist"),
        ("SELECT sum(model) FROM cells", r"sum\(VARCHAR\).*cells has campaign"),
    ],
)
def test_an_error_is_one_line_that_names_what_there_is(
    measured: UpToDateIndex, sql: str, said: str, check: bool
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        ask.check(sql) if check else rows(sql, measured)
    assert "\n" not in str(refused.value)


def test_what_only_the_values_make_impossible_is_said_too(measured: UpToDateIndex) -> None:
    ask.check("SELECT model::INT FROM cells")
    with pytest.raises(BadInput, match="Could not convert string 'SmolLM2") as refused:
        rows("SELECT model::INT FROM cells", measured)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_answer_is_written_and_read_back(measured: UpToDateIndex, kind: Any, tmp_path: Path) -> None:
    output = ask.QueryOutput(tmp_path / f"it's.{kind}", kind)
    sql = "SELECT fingerprint, test, tokens_per_s, samples_ts, started_at FROM runs ORDER BY ALL"
    with ask.run_query(sql, measured, output) as answer:
        answer.write(output)
    assert [file.name for file in tmp_path.iterdir() if file.name != "cache"] == [output.path.name]
    read = f"SELECT * FROM read_{kind}(?)"  # noqa: S608
    with duckdb.connect() as connection:
        back = [list(row) for row in connection.execute(read, [str(output.path)]).fetchall()]
    expected = rows(sql, measured)
    assert [row[:3] for row in back] == [row[:3] for row in expected]
    assert back == expected or kind == "csv", "CSV has no lists"


@pytest.mark.fault(
    "a model's or phone's name that a spreadsheet would compute as a formula",
    transport="workstation",
    outcome="`query --csv` and cells.csv write it as text, in one line",
)
@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "a\nb\u202ec"])
def test_a_formula_is_written_as_text(measured: UpToDateIndex, tmp_path: Path, name: str) -> None:
    output = ask.QueryOutput(tmp_path / "out.csv", "csv")
    with ask.run_query(
        f"SELECT '{name}' AS \"{name}\", -1.5 AS n, true AS b, NULL AS nothing", measured, output
    ) as answer:
        answer.write(output)
    header, row = list(csv.reader(output.path.read_text(encoding="utf-8").splitlines()))
    assert header[0] == row[0] == csv_cell(name)
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r", "＝"))
    assert row[1:] == ["-1.5", "true", ""]


@pytest.mark.fault(
    "a query fails in the middle of writing its file",
    transport="workstation",
    outcome="the file that was there stays as it was",
)
def test_an_answer_that_fails_leaves_what_was_there(measured: UpToDateIndex, tmp_path: Path) -> None:
    output = ask.QueryOutput(tmp_path / "out.csv", "csv")
    output.path.write_text("before")
    sql = "SELECT CASE WHEN range > 100000 THEN error('late') ELSE range END FROM range(200000)"
    with ask.run_query(sql, measured, output) as answer, pytest.raises(BadInput, match="late"):
        answer.write(output)
    assert output.path.read_text() == "before"
    assert not temporary_name(output.path).exists()


def test_two_columns_of_one_name_cannot_be_written(measured: UpToDateIndex, tmp_path: Path) -> None:
    output = ask.QueryOutput(tmp_path / "out.parquet", "parquet")
    with ask.run_query("SELECT 1 AS a, 2 AS a", measured, output) as answer:
        assert list(answer.rows()) == [[1, 2]]
        with pytest.raises(BadInput, match="two columns are called `a`"):
            answer.write(output)


def test_an_emulated_phone_is_known(measured: UpToDateIndex) -> None:
    assert ask.is_emulated(measured)
