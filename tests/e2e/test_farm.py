"""Two emulated phones side by side, over adb and over SSH, with the real binaries and model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.job.session import Session
from smoothdroid.device.transport import adb
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.virtual import VirtualPhone
from smoothdroid.host.results.record import read_runs
from tests.e2e.conftest import SMOOTHDROID, Cli, changed
from tests.host.tiny_gguf import Q8_0, write_llama
from tests.waiting import GIVE_UP_S, eventually

pytestmark = pytest.mark.e2e

ONE = ("--threads", "1", "--prompt", "0", "--generate", "2", "--rounds", "1", "--repetitions", "1")
LONG = ("--threads", "1", "--prompt", "0", "--generate", "64", "--rounds", "1", "--repetitions", "10000")
SMALL = ("--threads", "1", "--prompt", "4", "--generate", "2", "--rounds", "1", "--repetitions", "2")


@pytest.fixture(scope="module")
def ways(desk_phone: VirtualPhone) -> Iterator[list[str]]:
    """The first phone over adb, the second one over SSH."""
    other = virtual.start(f"e2e-farm-{os.getpid()}")
    yield [f"virtual:{desk_phone.name}", f"virtual:{other.name}/ssh"]
    adb.disconnect(other.adb_address)
    virtual.stop(other.name, erase=True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "tiny.gguf", Q8_0)


def arguments(ways: list[str]) -> list[str]:
    return [word for way in ways for word in ("--on", way)]


def test_two_phones_measure_what_each_would_alone(cli: Cli, ways: list[str], model: Path, tmp_path: Path) -> None:
    done = cli("bench", model, *arguments(ways), *SMALL, "-o", tmp_path, "--json")
    parts = json.loads(done.stdout)["phones"]
    assert [part["target"] for part in parts] == ways
    assert len({part["folder"] for part in parts}) == 2
    for way, part in zip(ways, parts, strict=True):
        assert (part["error"], part["reused"], len(part["runs"])) == (None, 0, 2)
        assert [run["failure"] for run in part["runs"]] == [None, None]
        assert f"{way}: {model.stem}, tg2, 1 thread: " in done.stderr
        alone = json.loads(cli("bench", model, "--on", way, *SMALL, "-o", tmp_path, "--json").stdout)
        assert (alone["folder"], alone["reused"], alone["runs"]) == (part["folder"], 2, [])


def test_equal_phones_share_a_plan(cli: Cli, ways: list[str], prepared: Path, tmp_path: Path) -> None:
    model = next(prepared.glob("*-plain-*.gguf"))  # a tiny one would be measured before the other phone began
    equal = [ways[0], ways[1].removesuffix("/ssh")]
    cli("deploy", model, *arguments(equal))  # so that both begin at once
    words = ("--threads", "1", "--prompt", "4", "--generate", "2-5", "--rounds", "1", "--repetitions", "1")
    done = json.loads(cli("bench", model, *arguments(equal), *words, "--share", "-o", tmp_path, "--json").stdout)
    runs = [run for part in done["phones"] for run in part["runs"]]
    assert [len(part["runs"]) > 0 for part in done["phones"]] == [True, True]
    assert sorted((run["cell"]["test"]["n_prompt"], run["cell"]["test"]["n_gen"]) for run in runs) == [
        (0, 2),
        (0, 3),
        (0, 4),
        (0, 5),
        (4, 0),
    ]
    assert "not measured" not in cli("report", tmp_path, "-o", tmp_path / "report").stdout


def test_a_phone_that_is_switched_off_delays_only_itself(
    cli: Cli, ways: list[str], model: Path, tmp_path: Path
) -> None:
    gone = virtual.start(f"e2e-gone-{os.getpid()}")
    on = f"virtual:{gone.name}"
    try:
        virtual.stop(gone.name)
        done = cli("bench", model, *arguments([on, ways[0]]), *SMALL, "-o", tmp_path, "--json", status=None)
    finally:
        virtual.stop(gone.name, erase=True)
    lost, there = json.loads(done.stdout)["phones"]
    assert done.returncode == 2
    assert f"no phone '{gone.name}' is running" in lost["error"]
    assert len(there["runs"]) == 2


def test_a_phone_that_is_too_hot_delays_only_itself(
    cli: Cli, ways: list[str], desk_phone: VirtualPhone, model: Path, tmp_path: Path
) -> None:
    """It cools down only when the cool one has measured all of its own."""
    cooling = ("--cool", "60", "--cool-within", "3600")
    command = [str(SMOOTHDROID), "bench", str(model), *arguments(ways), *ONE, *cooling, "-o", str(tmp_path), "--json"]
    # Not 50 °C above the other zones, where a sensor that does not move would be taken for stuck.
    with changed(desk_phone, temp="70000"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        eventually(lambda: list(tmp_path.glob("*/runs.jsonl")) or process.poll() is not None)
        first = [record.parent for record in tmp_path.glob("*/runs.jsonl")]
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    hot, cool = json.loads(out)["phones"]
    assert first == [Path(cool["folder"])]
    (mine,), (other,) = hot["runs"], cool["runs"]
    assert (mine["failure"], other["failure"]) == (None, None)
    assert (mine["waited"]["too_hot"], other["waited"]["too_hot"]) == (None, None)
    assert mine["waited"]["seconds"] > other["waited"]["seconds"]


def test_ctrl_c_stops_all_phones_and_what_ended_is_kept(cli: Cli, ways: list[str], model: Path, tmp_path: Path) -> None:
    words = ["bench", str(model), *arguments(ways), *LONG, "-o", str(tmp_path / "results")]
    # Started in the background, a shell's child ignores SIGINT, and so would ours.
    command = ["env", "--default-signal=INT", str(SMOOTHDROID), *words]
    targets = [open_target(way) for way in ways]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eventually(lambda: all(Session(target).running_job() for target in targets) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=GIVE_UP_S)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    for target in targets:
        with closing(target):
            assert Session(target).running_job() is None
            assert target.run(["pgrep", "-f", "[l]lama-bench"], check=False).stdout.strip() == ""
    for folder in (tmp_path / "results").iterdir():
        assert all(run.failure is None for run in read_runs(folder))
