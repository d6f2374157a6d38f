"""Two lab machines, each a network namespace with a phone, an adb server and a worker, and all that may break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.host.results.record import read_campaign, read_runs
from tests.e2e.conftest import SMOOTHDROID, TARGET, Cli
from tests.ports import free_port
from tests.waiting import eventually

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

PORT = free_port()
CELLS = 6
SMALL = ("--threads", "1", "--prompt", "4", "--generate", "2-6", "--rounds", "1", "--repetitions", "1")


class Lab:
    """A network namespace, behind a cable that can be cut."""

    def __init__(self, number: int, folder: Path) -> None:
        self.name, self.cable = f"sdlab{number}-{os.getpid()}", f"sd{number}-{os.getpid()}"
        self.phone = f"e2e-lab{number}-{os.getpid()}"
        self.address = f"10.77.{number}"
        self.cache = folder / f"lab{number}"
        self.cache.mkdir()
        (self.cache / "phones").symlink_to(cache_root() / "phones")
        self.worker: subprocess.Popen[str] | None = None

    def build(self) -> None:
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("addr", "add", f"{self.address}.1/24", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{self.address}.2/24", "dev", "eth0"]):
            ip("-n", self.name, *words)
        ip("-n", self.name, "link", "set", "eth0", "up")
        subprocess.run([*self.inside, str(SMOOTHDROID), "phone", "start", self.phone], check=True, capture_output=True)

    @property
    def inside(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def start_worker(self) -> None:
        words = ["farm", "worker", f"tcp://{self.address}.1:{PORT}", "--on", f"virtual:{self.phone}"]
        command = [*self.inside, str(SMOOTHDROID), *words, "--name", self.name]
        environment = {**os.environ, "SMOOTHDROID_CACHE": str(self.cache)}
        self.worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        says(self.worker, "lending phones to")

    def kill_worker(self) -> None:
        assert self.worker
        self.worker.kill()
        self.worker.wait()
        assert self.worker.stderr
        self.worker.stderr.close()

    def remove(self) -> None:
        if self.worker and self.worker.poll() is None:
            self.kill_worker()
        virtual.stop(self.phone, erase=True)
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        for pid in listed.stdout.split():  # its adb server
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "link", "del", self.cable], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def says(process: subprocess.Popen[str], what: str) -> None:
    assert process.stderr
    assert any(what in line for line in process.stderr), f"it ended without saying {what!r}"


def scheduler() -> subprocess.Popen[str]:
    command = [str(SMOOTHDROID), "farm", "scheduler", f"tcp://0.0.0.0:{PORT}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    says(process, "the scheduler listens at")
    return process


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[list[Lab]]:
    if TARGET:
        pytest.skip(f"needs emulated phones, and SMOOTHDROID_TEST_TARGET is {TARGET}")
    made = [Lab(number, tmp_path) for number in (1, 2)]
    try:
        for lab in made:
            lab.build()
        yield made
    finally:
        for lab in made:
            lab.remove()


def test_every_cell_is_measured_once_whatever_breaks_between(
    cli: Cli, labs: list[Lab], prepared: Path, tmp_path: Path
) -> None:
    model, results, told = next(prepared.glob("*-plain-*.gguf")), tmp_path / "results", tmp_path / "told.json"
    one, two = labs
    meeting = scheduler()
    bench = None
    try:
        for lab in labs:
            lab.start_worker()
        words = ["bench", str(model), "--farm", f"tcp://127.0.0.1:{PORT}", *SMALL, "-o", str(results), "--json"]
        with told.open("w") as output, (tmp_path / "said").open("w") as errors:
            bench = subprocess.Popen([str(SMOOTHDROID), *words], stdout=output, stderr=errors)

        def measured() -> int:
            return sum(len(path.read_text().splitlines()) for path in results.glob("*/runs.jsonl"))

        def wait_for(runs: int) -> None:
            eventually(lambda: measured() >= runs or bench.poll() is not None)
            assert bench.poll() is None, (tmp_path / "said").read_text()

        wait_for(1)
        one.kill_worker()
        one.start_worker()
        wait_for(3)
        meeting.kill()
        meeting.wait()
        meeting = scheduler()
        wait_for(5)
        ip("link", "set", two.cable, "down")
        assert two.worker
        says(two.worker, "; retrying until it ")
        assert bench.poll() is None
        ip("link", "set", two.cable, "up")
        assert bench.wait(600) == 0, (tmp_path / "said").read_text()
    finally:
        if bench and bench.poll() is None:
            bench.kill()
            bench.wait()
        meeting.kill()
        meeting.wait()
    parts = json.loads(told.read_text())["phones"]
    assert [part["name"] for part in parts] == [f"{lab.name}/virtual:{lab.phone}" for lab in labs]
    for part in parts:
        folder = Path(part["folder"])
        runs = read_runs(folder)
        assert len(runs) == CELLS
        assert {run.cell for run in runs} == set(read_campaign(folder).plan.cells())
        assert [(run.failure, run.attempt) for run in runs] == [(None, 1)] * CELLS
    for lab in labs:
        kept = [path.stat().st_size for path in (lab.cache / "farm").iterdir()]
        assert model.stat().st_size in kept
        assert len(kept) == len(set(kept)) <= 2, "the model and llama-bench, once"
