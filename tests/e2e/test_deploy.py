"""Models on phones ahead of a campaign, as a user deploys, looks and cleans up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import Task
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.virtual import VirtualPhone
from tests.e2e.conftest import SMOOTHDROID, Cli, Desk
from tests.host.tiny_gguf import Q8_0, write_llama
from tests.waiting import GIVE_UP_S, eventually

pytestmark = pytest.mark.e2e


def own_model(path: Path) -> Path:
    """Write a model that no other test has put on the shared phone."""
    return write_llama(path, Q8_0, texts={"general.description": str(path)})


def test_two_ways_and_a_phone_that_is_not_there(cli: Cli, desk: Desk, tmp_path: Path) -> None:
    model = own_model(tmp_path / "tiny.gguf")
    on = [word for way in (*desk.ways, "virtual:nosuch") for word in ("--on", way)]
    first = json.loads(cli("deploy", model, *on, "--json", status=2).stdout)
    assert [one["target"] for one in first] == [*desk.ways, "virtual:nosuch"]
    assert all("tiny.gguf" in one["sent"] for one in first[:-1])
    assert "nosuch" in first[-1]["error"]
    again = json.loads(cli("deploy", model, *on[:-2], "--json").stdout)
    assert [one["sent"] for one in again] == [[]] * len(desk.ways)
    # A campaign finds it there.
    cell = ("--threads", "1", "--prompt", "4", "--generate", "0", "--rounds", "1", "-r", "1")
    assert "MiB" not in cli("bench", model, "--on", desk.ways[0], *cell, "-o", tmp_path / "results").stderr

    stored = json.loads(cli("phone", "df", "--on", desk.ways[0], "--json").stdout)["stored"]
    (mine,) = [one for one in stored if one["name"] == "tiny.gguf"]
    assert (mine["whole"], mine["busy"]) == (True, False)
    assert "tiny.gguf" in cli("phone", "df", "--on", desk.ways[0]).stdout
    cli("phone", "clean", mine["id"], "--on", desk.ways[0], "--dry-run")
    removed = json.loads(cli("phone", "clean", mine["id"], "--on", desk.ways[0], "--json").stdout)["removed"]
    assert [one["id"] for one in removed] == [mine["id"]]
    gone = cli("phone", "clean", mine["id"], "--on", desk.ways[0], status=2)
    assert "nothing with the id" in gone.stderr
    assert "not both" in cli("phone", "clean", "x", "--unused", "7d", "--on", desk.ways[0], status=2).stderr


def test_a_job_that_was_left_is_listed_kept_and_removed(cli: Cli, desk_phone: VirtualPhone, tmp_path: Path) -> None:
    model = own_model(tmp_path / "left.gguf")
    place = f"store/{sha256_of(model)[:16]}"  # where it may have the name of an equal one
    for on in (f"virtual:{desk_phone.name}", f"virtual:{desk_phone.name}/ssh"):
        cli("deploy", model, "--on", on)
        with closing(open_target(on)) as target:
            path = target.run(["sh", "-c", f"ls {target.root}/{place}/*.gguf"]).stdout.strip()
            session = Session(target)
            session.start("left", [Task("one", ["cat", path], 600), Task("two", ["tail", "-f", path], 600)])
            next(session.follow("left"))
            jobs = json.loads(cli("phone", "jobs", "--on", on, "--json").stdout)
            (running,) = [job for job in jobs if job["name"] == "left"]
            assert (running["state"], running["done"], running["total"]) == ("running", 1, 2)
            name = path.rpartition("/")[2]
            assert [pin["name"] for pin in running["pins"]] == [name]
            assert "left stays: a runner works on it" in cli("phone", "clean", "left", "--on", on, "--yes").stderr
            session.stop("left")
        shown = cli("phone", "jobs", "--on", on).stdout
        assert all(word in shown for word in ("left", "interrupted", "1 of 2", name))
        kept = json.loads(cli("phone", "clean", "--on", on, "--json").stdout)
        assert {"left", name} <= {one["name"] for one in kept["kept"]}
        removed = json.loads(cli("phone", "clean", "--on", on, "--yes", "--json").stdout)
        assert "left" in [job["name"] for job in removed["removed_jobs"]]
        assert name in [one["name"] for one in removed["removed"]]
        assert cli("phone", "jobs", "--on", on).stdout == "no job is on the phone\n"


def test_what_is_at_work_stays(cli: Cli, desk_phone: VirtualPhone, tmp_path: Path) -> None:
    on, model = f"virtual:{desk_phone.name}", own_model(tmp_path / "other.gguf")
    cli("deploy", model, "--on", on)
    with closing(open_target(on)) as target:
        path = target.run(["sh", "-c", f"ls {target.root}/store/*/other.gguf"]).stdout.strip()
        opened = "until ls -l /proc/$!/fd | grep -q other.gguf; do sleep 0.1; done"
        target.run(["sh", "-c", f"tail -f {path} >/dev/null 2>&1 & {opened}"])
        try:
            done = cli("phone", "clean", "--unused", "0s", "--on", on)
            assert "other.gguf stays" in done.stderr
            assert target.run(["ls", path]).stdout.strip() == path
        finally:
            target.run(["pkill", "-f", "other.gguf"], check=False)


@pytest.mark.fault(
    "Ctrl-C while a model is sent",
    transport="any",
    outcome="what arrived is kept, and the next call goes on from there",
)
def test_ctrl_c_leaves_what_was_sent_for_the_next_call(cli: Cli, desk_phone: VirtualPhone, tmp_path: Path) -> None:
    on, model = f"virtual:{desk_phone.name}/ssh", write_llama(tmp_path / "long.gguf", Q8_0)
    os.truncate(model, 300_000_000)
    with closing(open_target(on)) as target:
        target.run(["rm", "-rf", f"{target.root}/store"])
        cli("deploy", "--on", on)  # the programs
        command = ["env", "--default-signal=INT", str(SMOOTHDROID), "deploy", str(model), "--on", on]
        look = f"stat -c %s {target.root}/store/*/.*.part {target.root}/store/*/{model.name} 2>/dev/null || echo 0"

        def arrived() -> int:
            return int(target.run(["sh", "-c", look]).stdout.split()[0])

        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            eventually(lambda: arrived() > 20_000_000 or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=GIVE_UP_S)
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
        before = arrived()
        assert before > 20_000_000, "it goes on from there, or has nothing more to send"
        (one,) = json.loads(cli("deploy", model, "--on", on, "--json").stdout)
        assert (one["sent"], one["error"]) == ([model.name] if before < 300_000_000 else [], None)
