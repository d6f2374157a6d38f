"""Results on file systems that lack something: locks, or the right to write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import read_runs
from tests.host import without
from tests.host.fakes import campaign, model, phone, run_of, write_results

PLAN = Plan(models=[model("a")], threads=[1], tests=[Test(n_gen=8)], protocol=Protocol(repetitions=2))
KNOWN = campaign(PLAN, phone())
WRITES = """
import sys
from pathlib import Path
from smoothdroid.host.results.record import alone, append, read_runs
from smoothdroid.host.farm.health import HealthRecords
from smoothdroid.host.query.index import current
folder = Path(sys.argv[1])
with alone(folder):
    append(folder, read_runs(folder)[0].model_copy(update={"round": 1}), "column\\ttime\\n")
with current([folder]) as index:
    assert not index.damaged
HealthRecords(folder / "farm.toml", 3).note("a", "measured", failed=False)
"""
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
COMMANDS = [["report", "results", "-o", "out"], ["compare", "results", "results"], ["query", "FROM cells", "results"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (cell,) = PLAN.cells()
    return write_results(tmp_path / "results", KNOWN, [run_of(KNOWN, cell, [10.0, 10.1])])


@pytest.mark.fault(
    "results, query index and inventory lie on NFS, CIFS or exFAT, which has no locks",
    transport="workstation",
    outcome="they are written all the same; a second smoothdroid on this machine is still refused",
)
@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_results_are_written_where_there_are_no_locks(folder: Path, tmp_path: Path, error: str) -> None:
    environment = {**os.environ, "SMOOTHDROID_CACHE": str(tmp_path / "cache")}
    argv = without.command({"flock": error}, [sys.executable, "-c", WRITES, str(folder)])
    subprocess.run(argv, check=True, cwd=without.ROOT, env=environment)
    assert [run.round for run in read_runs(folder)] == [0, 1]


@pytest.mark.fault(
    "results on a medium that can only be read",
    transport="workstation",
    outcome="report, compare and query read them",
)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_results_that_can_only_be_read_are_shown(folder: Path, tmp_path: Path, command: list[str]) -> None:
    environment = {**os.environ, "SMOOTHDROID_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(without.ROOT)}
    main = f"import sys; from smoothdroid.host.cli import main; sys.argv[1:] = {command!r}; main()"
    argv = ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(folder), sys.executable, "-c", main]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["campaign.json", "runs.jsonl"]
