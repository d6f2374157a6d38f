from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.job.jobs import Job, clean, look
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import Task
from smoothdroid.device.store.inventory import listing
from smoothdroid.device.transport.local import LocalTarget


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A phone that is a folder here, with two models in its store."""
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    session = Session(LocalTarget())
    for number in (1, 2):
        folder = Path(session.target.root, "store", f"{number}" * 16)
        folder.mkdir(parents=True)
        (folder / f"model-{number}.gguf").write_bytes(b"x" * 5000)
    yield session
    if job := session.running_job():
        session.stop(job)


def model(session: Session, number: int) -> str:
    return f"{session.target.root}/store/{str(number) * 16}/model-{number}.gguf"


def give(session: Session, job: str, *scripts: str, number: int = 1) -> Path:
    """A job of cells that read a model; returns its folder."""
    tasks = [
        Task(f"cell-{place}", ["sh", "-c", f"cat {model(session, number)} >/dev/null; {script}"], 60)
        for place, script in enumerate(scripts)
    ]
    session.start(job, tasks)
    return Path(session.target.root, "jobs", job)


def finished(session: Session, job: str, number: int = 1) -> Path:
    folder = give(session, job, "echo 1", "echo 2", number=number)
    list(session.follow(job))
    return folder


def interrupted(session: Session, job: str, done: int, number: int = 1) -> Path:
    folder = give(session, job, *["echo 1"] * done, "sleep 60", number=number)
    following = session.follow(job)
    for _ in range(done):
        next(following)
    session.stop(job)
    return folder


def seen(session: Session) -> dict[str, tuple[str, int, int, int]]:
    return {job.name: (job.state, job.done, job.total, job.uncollected) for job in look(session)}


def test_jobs_are_listed_with_their_state_and_what_they_pin(session: Session) -> None:
    assert look(session) == []
    finished(session, "a")
    interrupted(session, "b", 1, number=2)
    (interrupted(session, "c", 1) / "commands.sh").write_text("changed")
    give(session, "d", "echo 1", "sleep 60")
    next(session.follow("d"))
    assert seen(session) == {
        "a": ("finished", 2, 2, 2),
        "b": ("interrupted", 1, 2, 1),
        "c": ("damaged", 1, 2, 2),
        "d": ("running", 1, 2, 1),
    }
    a, b, c, d = look(session)
    assert (a.pins, b.pins, c.pins, d.pins) == (["1" * 16], ["2" * 16], [], ["1" * 16])
    assert c.damage == ["commands.sh is lost or damaged"]
    assert all(0 < job.size_bytes < 1 << 20 and 0 <= job.idle_s < 600 for job in (a, b, c, d))


@pytest.mark.fault(
    "a job on the phone is damaged", transport="any", outcome="`phone jobs` lists it and says what is damaged"
)
def test_whatever_is_left_of_a_job_it_is_listed(session: Session) -> None:
    for name in ("sum", "cells", "commands.sh", "limits", "cool", "journal"):
        folder = finished(session, "job")
        (folder / name).unlink()
        (job,) = look(session)
        assert (job.state, job.uncollected) == ("damaged", 2)
        assert any(name in text for text in job.damage)
        assert job.total == (0 if name == "cells" else 2)
        for content in (b"\0" * 3000, os.urandom(3000), b"journal\n" * 3, b""):
            (folder / name).write_bytes(content)
            (job,) = look(session)
            assert isinstance(job, Job)
        session.remove("job")
    Path(session.target.root, "jobs/empty").mkdir(parents=True)
    (job,) = look(session)
    assert (job.state, job.done, job.total, job.uncollected) == ("damaged", 0, 0, 0)


def remains(session: Session) -> list[str]:
    root = Path(session.target.root)
    return sorted(path.name for folder in ("jobs", "store") for path in (root / folder).iterdir())


def test_clean_removes_all_that_nobody_needs(session: Session) -> None:
    interrupted(session, "none-ended", 0)
    for name in ("old.trash", "young.part", "old.part"):
        (Path(session.target.root) / "jobs" / name / "sub").mkdir(parents=True)
    os.utime(Path(session.target.root, "jobs/old.part"), (0, 0))
    planned = clean(session, dry_run=True)
    assert remains(session) == sorted(["none-ended", "old.trash", "young.part", "old.part", "1" * 16, "2" * 16])
    done = clean(session)
    for cleaned in (planned, done):
        assert [job.name for job in cleaned.jobs] == ["none-ended"]
        assert sorted(file.id for file in cleaned.stored) == ["1" * 16, "2" * 16]
        assert cleaned.kept == []
    assert sorted(path.rpartition("/")[2] for path in planned.leftovers) == ["old.part", "old.trash"]
    assert remains(session) == ["young.part"], "somebody may be sending it"


@pytest.mark.fault(
    "a job of a workstation that is gone holds results on the phone",
    transport="any",
    outcome="`phone clean` keeps it and says so; with --yes it removes it",
)
def test_clean_keeps_results_that_nobody_collected_and_what_they_need(session: Session) -> None:
    finished(session, "whole", number=2)
    interrupted(session, "half", 1, number=1)
    done = clean(session)
    assert (done.jobs, done.stored) == ([], [])
    assert {one.name: one.why.partition(".")[0] for one in done.kept} == {
        "half": "it may hold results that no command has collected (cells: 1)",
        "whole": "it may hold results that no command has collected (cells: 2)",
        "model-1.gguf": "the job half on the phone needs it",
        "model-2.gguf": "the job whole on the phone needs it",
    }
    assert len(remains(session)) == 4
    done = clean(session, ["whole"], uncollected=True)
    assert ([job.name for job in done.jobs], done.stored) == (["whole"], [])
    done = clean(session, uncollected=True)
    assert ([job.name for job in done.jobs], len(done.stored), done.kept) == (["half"], 2, [])
    assert remains(session) == []


def test_clean_leaves_alone_what_a_runner_works_on(session: Session) -> None:
    interrupted(session, "idle", 0, number=2)
    give(session, "busy", "sleep 60")
    done = clean(session, uncollected=True)
    assert ([job.name for job in done.jobs], [file.id for file in done.stored]) == (["idle"], ["2" * 16])
    assert [(one.name, one.why) for one in done.kept] == [
        ("busy", "a runner works on it"),
        ("model-1.gguf", "the job busy on the phone needs it"),
    ]
    assert session.running_job() == "busy"
    assert not session.remove("busy", idle=True)
    assert remains(session) == ["1" * 16, "busy"]


def test_clean_of_what_is_named_or_was_long_unused(session: Session) -> None:
    with pytest.raises(BadInput, match="nothing with the id nosuch"):
        clean(session, ["nosuch"])
    interrupted(session, "job", 0)
    assert [file.id for file in clean(session, ["2" * 16]).stored] == ["2" * 16]
    done = clean(session, idle_s=3600)
    assert (done.jobs, done.stored, done.kept) == ([], [], [])
    assert [file.jobs for file in listing(session.target)] == [["job"]]
