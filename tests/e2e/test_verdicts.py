"""What happens to a phone while it measures, seen by the real runner in its real sysfs, and said in the verdict."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.target import Target
from smoothdroid.device.virtual import VirtualPhone
from tests.e2e.conftest import SMOOTHDROID, changed
from tests.waiting import GIVE_UP_S, eventually

pytestmark = pytest.mark.e2e

ONE_CELL = ("--threads", "1", "--prompt", "0", "--generate", "8", "--rounds", "1", "--repetitions", "3", "--json")


@pytest.fixture
def way(desk_phone: VirtualPhone) -> str:
    """The phone over adb: what the runner reads there depends on no transport (tests/device/job/test_session.py)."""
    return f"virtual:{desk_phone.name}"


@contextmanager
def benched(model: Path, way: str, output: Path, *options: str) -> Iterator[tuple[Target, list[dict[str, Any]]]]:
    """The block runs while a cell does; when it is left, the cell's facts are in the list."""
    command = [str(SMOOTHDROID), "bench", str(model), "--on", way, *ONE_CELL, *options, "-o", str(output)]
    cells: list[dict[str, Any]] = []
    target = open_target(way)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            running = ["pgrep", "-f", "[l]lama-bench -m"]
            eventually(lambda: process.poll() is not None or target.run(running, check=False).exit_status == 0)
            yield target, cells
            out, errors = process.communicate(timeout=GIVE_UP_S)
        finally:
            process.kill()
            target.close()
    assert process.returncode == 0, errors
    cells += json.loads(out)["cells"]


def test_a_zone_that_gets_hot_during_a_cell_makes_it_throttled(
    prepared: Path, desk_phone: VirtualPhone, way: str, tmp_path: Path
) -> None:
    model = next(prepared.glob("*plain*.gguf"))
    hot = {"trip_point_0_type": "passive", "trip_point_0_temp": "90000", "temp": "91500"}
    with changed(desk_phone, **hot), benched(model, way, tmp_path) as (_, cells):
        pass
    (cell,) = cells
    assert "throttled" in cell["verdict"]
    assert "BIG was at 91.5 °C, and the phone begins to slow down at 90.0 °C" in cell["remark"]
    assert cell["tokens_per_s"] > 0, "kept, and shown as what it is"


def test_a_mask_that_is_narrowed_from_outside_is_noticed(
    prepared: Path, desk_phone: VirtualPhone, way: str, tmp_path: Path
) -> None:
    model = next(prepared.glob("*plain*.gguf"))
    cool = {"trip_point_0_type": "passive", "trip_point_0_temp": "90000"}
    with changed(desk_phone, **cool), benched(model, way, tmp_path / "held", "--cpus", "0-1") as (_, held):
        pass
    with benched(model, way, tmp_path / "narrowed", "--cpus", "0-1") as (target, narrowed):
        target.run(["sh", "-c", "for pid in $(pgrep -f '[l]lama-bench -m'); do taskset -ap 1 $pid; done; true"])
    assert not {"mask not held", "throttled"} & set(held[0]["verdict"].split(", "))
    assert "mask not held" in narrowed[0]["verdict"]
    assert "CPUs 0-1 were asked for, a thread could run on 0" in narrowed[0]["remark"]


def test_a_wait_for_a_cool_phone_that_is_in_vain_is_said(
    prepared: Path, desk_phone: VirtualPhone, way: str, tmp_path: Path
) -> None:
    model = next(prepared.glob("*plain*.gguf"))
    cooling = ("--cool", "40", "--cool-within", "2", "--generate", "2", "--repetitions", "1")
    with changed(desk_phone, temp="61000"), benched(model, way, tmp_path, *cooling) as (_, cells):
        pass
    assert "thermal_zone0 was still above the limit" in cells[0]["remark"]
