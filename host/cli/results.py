"""The commands on results: `report`, `compare`, `query`."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.bench import option_values
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.options import Json
from smoothdroid.host.common import console
from smoothdroid.host.common.optional_packages import need_duckdb
from smoothdroid.host.results.record import find_campaigns

if TYPE_CHECKING:
    from smoothdroid.host.compare.comparison import ComparedResults
    from smoothdroid.host.query.ask import QueryOutput, QueryResult


MOST_ROWS = 200
"""Rows of an answer that a terminal shows."""


@app.command(epilog="Example: smoothdroid report results/ quality/ -o report/")
def report(
    results: Annotated[list[Path], typer.Argument(help="Folders with results and evaluations, however deep.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path("report"),
    json: Json = False,
) -> None:
    """Turn results into one page to look at, Markdown for a pull request, CSV and figures.

    The page needs no network. Of evaluations it takes the files that `smoothdroid evaluate` wrote.
    """
    from smoothdroid.host.report.data import report_data, rows
    from smoothdroid.host.report.render.files import write
    from smoothdroid.host.report.tables import cells

    found = report_data.load(results)
    for damaged in found.damage:
        console.warning(f"left out: {damaged}")
    with console.bar() as bar:
        written = write(found, output, bar.update)
    if json:
        console.facts([rows.as_facts(section) for section in found.campaigns])
        return
    for section in found.campaigns:
        console.show(cells.terminal(section))
    for path in written:
        console.out.print(str(path), soft_wrap=True)


@app.command(
    epilog="Example: smoothdroid compare results/before results/after --threshold 5%\n\n"
    "Two models of one campaign: smoothdroid compare results/ --models plain,smooth\n\n"
    "Two settings of one campaign: smoothdroid compare results/ --by threads=4,8\n\n"
    "Exit status: 1 when at least one cell is a regression: B is significantly slower (adjusted for all cells of the "
    "comparison) and its estimated slowdown exceeds --threshold. 0 otherwise; 2 for wrong usage or input."
)
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder with results: before. With --models or --by: all.")],
    b: Annotated[Path | None, typer.Argument(metavar="B", help="Folder with results: after.")] = None,
    models: Annotated[
        str | None, typer.Option(metavar="A,B", help="Compare two models of one folder; a part of each name will do.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD=A,B",
            help="Compare two values of one setting of one folder: threads=4,8, cpus=big,all, flash-attention=on,off, "
            "build=ID,ID ...",
        ),
    ] = None,
    threshold: Annotated[
        str, typer.Option(metavar="PERCENT", help="Exit with 1 where B is significantly slower, by more than this.")
    ] = "5%",
    json: Json = False,
) -> None:
    """Say of each cell whether B is faster than A, slower, or not significantly different.

    A and B are two folders, or two models, builds or settings of one folder. The value of a process is the mean of its
    repetitions. Processes of the same round of a campaign are compared in pairs, others by Welch's t test; an answer
    accounts for the number of cells (Holm: 5 % for any wrong one).
    """
    from smoothdroid.host.compare import matching as comparison
    from smoothdroid.host.compare import tables

    compared = _compared(a, b, models, by, option_values.share(threshold, "--threshold"))
    if json:
        console.facts(comparison.as_facts(compared))
    else:
        for line in tables.sides(compared):
            console.out.print(line, soft_wrap=True)
        for table in tables.terminal(compared):
            console.show(table)
        for line in tables.notes(compared):
            console.out.print(line, soft_wrap=True)
    if compared.regressions:
        raise typer.Exit(1)


def _compared(a: Path, b: Path | None, models: str | None, by: str | None, threshold: float) -> ComparedResults:
    from smoothdroid.host.compare import matching as comparison
    from smoothdroid.host.compare.by import FIELDS, parse

    if models is not None and by is not None:
        raise BadInput("--models and --by: two sides differ in one setting; name one of them")
    if models is None and by is None:
        if b is None:
            raise BadInput(
                f"compare {a} with what? Name a second folder (smoothdroid compare {a} AFTER), or two models or values "
                f"in this one (smoothdroid compare {a} --models A,B, or --by threads=4,8)"
            )
        return comparison.load(a, b, threshold)
    if b is not None:
        raise BadInput(
            f"{a} and {b}: {'--by' if models is None else '--models'} compares within one folder; leave out one of the "
            "two, or name a folder that holds both"
        )
    field, said = (FIELDS["model"], models) if models is not None else parse(by or "")
    return comparison.within(a, field, said, threshold)


@app.command(
    epilog='Example: smoothdroid query "SELECT phone, test, max(tokens_per_s) FROM cells GROUP BY ALL" results/\n\n'
    'A file of all: smoothdroid query "FROM cells" results/ --parquet cells.parquet\n\n'
    "What can be asked: smoothdroid query --tables"
)
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT, in DuckDB's SQL.")] = "",
    results: Annotated[list[Path] | None, typer.Argument(help="Folders with results. Default: results.")] = None,
    tables: Annotated[bool, typer.Option("--tables", help="Print the tables and columns with their meaning.")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the answer to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the answer to this file.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Evaluate again the campaigns that seem unchanged.")] = False,
    json: Json = False,
) -> None:
    """Query all results in SQL: campaigns, their cells with verdicts and intervals, their runs.

    The verdicts are computed from the results folders and kept in an index in the cache, so that the first query of a
    campaign takes longer. The index may be deleted. A damaged campaign is named and left out.
    """
    need_duckdb()
    from smoothdroid.host.query import ask, index
    from smoothdroid.host.report.data.rows import NOT_A_SPEED

    if tables:
        _print_tables(json=json)
        return
    output = _query_output(sql, csv, parquet, json=json, force=force)
    ask.check(sql)  # a typing error must not cost the evaluation of all results
    folders = find_campaigns(results or [Path("results")])
    with ExitStack() as held:
        with console.bar() as bar:
            update = index.current(folders, again=again, on_progress=bar.update, on_step=console.step)
            current = held.enter_context(update)
        answer = held.enter_context(ask.run_query(sql, current, output))
        if output:
            answer.write(output)
            console.out.print(str(output.path), soft_wrap=True)
        else:
            _print_answer(answer, json=json)
        if ask.is_emulated(current):
            console.warning(NOT_A_SPEED)
    for damage in current.damaged:
        console.error(f"left out: {damage}")
    if current.damaged:
        raise typer.Exit(1)


def _query_output(sql: str, csv: Path | None, parquet: Path | None, *, json: bool, force: bool) -> QueryOutput | None:
    """Return the file for the answer; None: print it. Raises BadInput without a query, or for two files."""
    from smoothdroid.host.query.ask import QueryOutput

    if not sql:
        raise BadInput('what is the question? `smoothdroid query "FROM cells"`; `--tables` says what can be asked')
    if sum((json, bool(csv), bool(parquet))) > 1:
        raise BadInput("--json, --csv and --parquet: an answer goes to one of them")
    output = QueryOutput(csv, "csv") if csv else QueryOutput(parquet, "parquet") if parquet else None
    if output:
        output.check(replace=force)
    return output


def _print_tables(*, json: bool) -> None:
    from smoothdroid.host.query.tables import TABLES

    if json:
        console.facts({table.name: [dataclasses.asdict(column) for column in table.shown] for table in TABLES})
        return
    for table in TABLES:
        rows = [[column.name, column.kind, column.says] for column in table.shown]
        console.table(f"{table.name}: {table.says}", ["column", "type", "what it says"], rows)


def _print_answer(answer: QueryResult, *, json: bool) -> None:
    if json:
        answer.check_names()
        console.facts([dict(zip(answer.columns, row, strict=True)) for row in answer.rows()])
        return
    rows = list(answer.rows(MOST_ROWS + 1))
    console.table("", answer.columns, [[_shown(value) for value in row] for row in rows[:MOST_ROWS]])
    if len(rows) > MOST_ROWS:
        console.warning(f"the first {MOST_ROWS} rows; --csv, --parquet and --json give all")


def _shown(value: object) -> str:
    """For a person to read: six digits are more than any of these measurements has."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
