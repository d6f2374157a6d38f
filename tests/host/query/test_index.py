from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb
import pytest

from smoothdroid.host.query import index
from smoothdroid.host.query.index import UpToDateIndex
from smoothdroid.host.results.record import CAMPAIGN, RUNS, find_campaigns
from tests.host.query.conftest import MEASURED
from tests.waiting import GIVE_UP_S


class Judged:
    """What an update did."""

    def __init__(self, current: UpToDateIndex, progress: list[tuple[int, int]]) -> None:
        self.current, self.progress = current, progress

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(self.current.path, read_only=True) as connection:
            return connection.execute(sql).fetchall()


def update(results: Path, *, again: bool = False) -> Judged:
    progress: list[tuple[int, int]] = []
    with index.current(
        find_campaigns([results]), again=again, on_progress=lambda _, done, total: progress.append((done, total))
    ) as current:
        return Judged(current, progress)


def more(results: Path, count: int) -> None:
    for number in range(count):
        shutil.copytree(MEASURED, results / f"more-{number}")


def test_a_campaign_is_judged_once(results: Path) -> None:
    assert update(results).progress == [(1, 1)]
    again = update(results)
    assert again.progress == []
    assert again.ask("SELECT count(*) FROM cells") == [(40,)]
    assert again.current.campaigns == [str(results / "measured")]


@pytest.mark.parametrize("name", [CAMPAIGN, RUNS, "samples/one-more.tsv"])
def test_a_changed_record_is_judged_again_and_replaced(results: Path, name: str) -> None:
    more(results, 1)
    update(results)
    file = results / "measured" / name
    file.write_bytes(file.read_bytes() if file.exists() else b"")
    os.utime(file, ns=(1, 1)) if name != "samples/one-more.tsv" else None
    again = update(results)
    assert again.progress == [(1, 1)]
    assert again.ask("SELECT count(*), count(DISTINCT campaign_number) FROM cells") == [(80, 2)]
    assert again.ask("SELECT count(*) FROM campaigns") == [(2,)]


def test_a_run_that_comes_later_is_in_the_next_answer(results: Path) -> None:
    runs = results / "measured" / RUNS
    whole = runs.read_bytes()
    runs.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert update(results).ask("SELECT count(*) FROM runs") == [(3,)]
    runs.write_bytes(whole)
    assert update(results).ask("SELECT count(*) FROM runs") == [(26,)]


def test_other_rules_judge_everything_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = update(results)
    monkeypatch.setattr(index, "rules", lambda: "other")
    second = update(results)
    assert second.progress == [(1, 1)]
    assert not first.current.path.exists(), "nobody reads it any more"


def test_the_rules_are_the_code_that_judges() -> None:
    """Any file of it: a copy of the code with one more comment has other rules."""
    told = []
    for change in ("", "# a comment\n"):
        code = (
            "import pathlib, sys; original = pathlib.Path.read_bytes\n"
            f"more, name = {change.encode()!r}, 'socs.toml'\n"
            "pathlib.Path.read_bytes = lambda self: original(self) + more * (self.name == name)\n"
            "from smoothdroid.host.query import index; print(index.rules())"
        )
        told.append(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert told[0].strip() == index.rules()
    assert told[0] != told[1]


@pytest.mark.fault(
    "a damaged campaign among those that are queried",
    transport="workstation",
    outcome="it is named and left out; the others are answered, and the exit status is 1",
)
def test_a_damaged_campaign_is_named_and_left_out(results: Path) -> None:
    more(results, 1)
    runs = results / "measured" / RUNS
    runs.write_bytes(runs.read_bytes() + b"nonsense\n")
    for _ in range(2):  # the second call remembers it
        judged = update(results)
        assert judged.current.campaigns == [str(results / "more-0")]
        (damage,) = judged.current.damaged
        assert damage.startswith(f"{runs}, line 27 is damaged")
    assert judged.progress == []
    runs.write_bytes((MEASURED / RUNS).read_bytes())
    assert update(results).current.damaged == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("wall_s", "1e999"), ("round", "99999999999"), ("tokens_per_s", "[]"), ("started_at", '"99999-01-01T00:00:00Z"')],
)
def test_whatever_stands_in_a_record_the_others_are_answered(results: Path, name: str, value: str) -> None:
    more(results, 1)
    runs = results / "measured" / RUNS
    lines = [json.loads(line) for line in runs.read_text().splitlines()]
    lines[-1][name] = "HERE"
    runs.write_text("".join(json.dumps(line).replace('"HERE"', value) + "\n" for line in lines))
    judged = update(results)
    assert str(results / "more-0") in judged.current.campaigns
    assert len(judged.current.campaigns) + len(judged.current.damaged) == 2
    if judged.current.damaged:
        assert str(results / "measured") in judged.current.damaged[0]
        assert "\n" not in judged.current.damaged[0]
    assert judged.ask("SELECT count(*) FROM cells WHERE isinf(tokens_per_s)") == [(0,)]


def test_again_judges_what_seems_unchanged(results: Path) -> None:
    update(results)
    assert update(results, again=True).progress == [(1, 1)]


def test_many_are_judged_by_several_processes_to_the_same_end(results: Path) -> None:
    alone = update(results).ask("SELECT * EXCLUDE campaign_number FROM cells")
    more(results, index.FEW + 1)
    judged = update(results)
    assert judged.progress[-1] == (index.FEW + 1, index.FEW + 1)
    for number in range(2, index.FEW + 3):
        assert judged.ask(f"SELECT * EXCLUDE campaign_number FROM cells WHERE campaign_number = {number}") == alone  # noqa: S608


@pytest.mark.fault(
    "the index of queries is damaged",
    transport="workstation",
    outcome="it is made again from the results",
)
def test_an_index_that_cannot_be_read_is_made_again(results: Path) -> None:
    path = update(results).current.path
    path.write_bytes(b"no database" * 1000)
    judged = update(results)
    assert judged.progress == [(1, 1)]
    assert judged.ask("SELECT count(*) FROM cells") == [(40,)]


@contextmanager
def judging(results: Path) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys; from smoothdroid.host.cli import main; "
        "sys.argv[1:] = ['query', 'FROM campaigns', sys.argv[1]]; main()"
    )
    command = [sys.executable, "-c", code, str(results)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.fault(
    "a query is killed while it judges",
    transport="workstation",
    outcome="what was judged stays judged; the next query judges the rest",
)
def test_what_was_judged_when_it_is_killed_stays_judged(results: Path) -> None:
    more(results, 3)
    code = (
        "import os, signal, sys; from pathlib import Path; from smoothdroid.host.query import index\n"
        "from smoothdroid.host.results.record import find_campaigns\n"
        "def judged(_, done, total):\n    done == 3 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "with index.current(find_campaigns([Path(sys.argv[1])]), on_progress=judged):\n    pass"
    )
    # Its standard output ends when the last process that has it does: those that judge for it too.
    killed = subprocess.run([sys.executable, "-c", code, str(results)], stdout=subprocess.PIPE, check=False)
    assert killed.returncode == -signal.SIGKILL
    found = update(results)
    assert 0 < found.progress[-1][1] < 4
    assert found.ask("SELECT count(*), count(DISTINCT campaign_number) FROM cells") == [(4 * 40, 4)]


@pytest.mark.fault(
    "two queries at once",
    transport="workstation",
    outcome="the second says that it waits, and answers",
)
def test_two_at_a_time_wait_for_each_other(results: Path) -> None:
    with ExitStack() as stack:
        with index.current(find_campaigns([results])) as current:
            process = stack.enter_context(judging(results))
            assert process.stderr
            assert "another query is running" in process.stderr.readline()
            assert process.poll() is None
            assert current.campaigns
        process.communicate(timeout=GIVE_UP_S)
        assert process.returncode == 0
