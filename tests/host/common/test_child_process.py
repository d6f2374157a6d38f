"""A child process is told what to do in a file, and tells how it goes in another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.common.child_process import PACKAGES, ChildJob, Events, run_child
from tests.processes import is_alive
from tests.waiting import eventually

MODULE = "tests.host.common.test_child_process"


class Task(ChildJob):
    """What the child below does."""

    do: str


def main(task: Task) -> None:
    """The child: see the last lines of this file."""
    events = Events(task.events)
    match task.do:
        case "work":
            events.step("begun")
            events.progress("count", 1, 2)
            events.progress("count", 2, 2)
        case "ask":
            print(sys.stdin.read(), os.environ["HF_HUB_OFFLINE"], os.environ["TRANSFORMERS_OFFLINE"], os.getcwd())
            raise SystemExit(3)
        case "sleep":
            events.step("asleep")
            time.sleep(3600)
        case "complain":
            events.failed(BadInput("the model is wrong"))
            raise SystemExit(1)
        case "stumble":
            print("so far so good")
            raise ValueError(f"{task.events.parent}/model is wrong\nin two lines")
        case "fail":
            events.failed(SmoothdroidError("it did not work"))
            raise SystemExit(1)
        case _:
            for number in range(50):
                print("line", number)
            raise SystemExit(4)


def run(tmp_path: Path, do: str) -> list[object]:
    told: list[object] = []
    task = Task(events=tmp_path / "task.events", do=do)
    log = tmp_path / "kept.log"
    progress = lambda *at: told.append(at)  # noqa: E731
    run_child(MODULE, task, log, name="the child", on_step=told.append, on_progress=progress)
    return told


def test_no_traceback_and_no_path_of_its_own_reaches_the_user(tmp_path: Path) -> None:
    task = Task(events=tmp_path / "task.events", do="stumble")
    with pytest.raises(SmoothdroidError) as raised:
        run_child(MODULE, task, tmp_path / "log", name="it", paths={tmp_path / "model": Path("models/mine")})
    said = (
        f"it ended with status 1; its whole log is {tmp_path}/log\n  ValueError: models/mine is wrong\n  in two lines"
    )
    assert str(raised.value) == said
    assert "Traceback" in (tmp_path / "log").read_text()


def test_what_it_tells_comes_through(tmp_path: Path) -> None:
    assert run(tmp_path, "work") == ["begun", ("count", 1, 2), ("count", 2, 2)]
    assert not (tmp_path / "kept.log").exists()


@pytest.mark.parametrize(("do", "kind"), [("complain", BadInput), ("fail", SmoothdroidError)])
def test_what_is_wrong_comes_through_as_it_was_raised(tmp_path: Path, do: str, kind: type[Exception]) -> None:
    with pytest.raises(SmoothdroidError) as raised:
        run(tmp_path, do)
    assert type(raised.value) is kind
    assert not (tmp_path / "kept.log").exists()


def test_a_failure_shows_the_last_lines_and_keeps_the_log(tmp_path: Path) -> None:
    with pytest.raises(SmoothdroidError, match=r"the child ended with status 4; .*kept.log\n  line 42\n") as raised:
        run(tmp_path, "break")
    assert "line 41" not in str(raised.value)
    assert str(raised.value).endswith("line 49")
    assert (tmp_path / "kept.log").read_text().startswith("line 0\n")


def test_it_ends_when_its_parent_does(tmp_path: Path) -> None:
    """A parent that starts the child and is killed: the child, which would sleep for an hour, ends by itself."""
    task = Task(events=tmp_path / "task.events", do="sleep")
    job = tmp_path / "task.job"
    job.write_text(task.model_dump_json())
    script = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); input()"
    argv = [sys.executable, "-c", script, sys.executable, "-m", MODULE, str(job)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PACKAGES) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        eventually(lambda: task.events.exists() and "asleep" in task.events.read_text())
        assert is_alive(child)
        parent.kill()
    eventually(lambda: not is_alive(child), "it sleeps on")


def test_it_reads_nothing_asks_nobody_and_stands_in_our_folder(tmp_path: Path) -> None:
    with pytest.raises(SmoothdroidError):
        run(tmp_path, "ask")
    assert (tmp_path / "kept.log").read_text() == f" 1 1 {Path(__file__).parents[3]}\n"


if __name__ == "__main__":
    main(Task.model_validate_json(Path(sys.argv[1]).read_text()))
