from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.job.session import Session
from smoothdroid.device.transport.target import Completed, Progress
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.campaign import CampaignEvents, CampaignResult
from smoothdroid.host.bench.plan import make
from smoothdroid.host.bench.request import Request
from smoothdroid.host.gguf.artifact import inspect
from smoothdroid.host.results import start_temperatures
from smoothdroid.host.results.plan import Plan
from tests.host.campaigns import run_campaign
from tests.host.fakes import LLAMA_BENCH, FolderPhone, llama_bench, phone, write_gguf

PHONE = phone()


class Thermal(FolderPhone):
    """A phone with thermal zones, all of one temperature, that keeps the limits it was given."""

    def __init__(self, root: Path, celsius: int, *lines: str) -> None:
        super().__init__(root)
        self.said = "".join(f"{line}\n" for line in (f"thermal_zone0 {celsius * 1000} cpu-0", *lines)) * 3
        self.limits: list[str] = []

    def run(self, argv: Sequence[str], **more: Any) -> Completed:
        return Completed(0, self.said, "") if "zones" in argv else super().run(argv, **more)

    def push(self, source: Path, remote: str, *, mode: int = 0o644, progress: Progress | None = None) -> None:
        if remote.endswith("/cool"):
            self.limits.append(source.read_text())
        super().push(source, remote, mode=mode, progress=progress)


class Campaign:
    """A campaign that waits for its start temperature, on a phone that is warmer at each call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        tool = folder / "built" / "llama-bench"
        tool.parent.mkdir()
        self.binaries = Binaries("0123456789abcdef", "i8mm", "fake", {"llama-bench": (tool, "")})
        self._model = write_gguf(folder / "plain.gguf", 1)
        self.steps: list[str] = []

    def __call__(self, target: Thermal, script: str = LLAMA_BENCH) -> CampaignResult:
        tool, _ = self.binaries.tools["llama-bench"]
        tool.write_text(script)
        binaries = Binaries("0123456789abcdef", "i8mm", "fake", {"llama-bench": (tool, sha256_of(tool))})
        events = CampaignEvents(self.steps.append)
        return run_campaign(self.plan(), target, PHONE, binaries, self._folder / "results", events)

    def plan(self) -> Plan:
        asked = Request(threads="1,2", prompt="16", generate="8", repetitions=2, cool="start+2", cool_within=1)
        return make([inspect(self._model)], asked, PHONE)


@pytest.fixture
def bench(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


@pytest.mark.fault(
    "`bench --cool start+2` is killed and called again on a phone that is warm by then",
    transport="any",
    outcome="the phone is waited for until it is as cool as at the first call",
)
def test_a_later_call_waits_for_the_first_calls_temperature(bench: Campaign, tmp_path: Path) -> None:
    first = Thermal(tmp_path / "phone", 26)
    outcome = bench(first, llama_bench('[ "$t" = 2 ] && exit 3'))
    assert outcome.failed
    (limit,) = set(first.limits)
    assert limit == "thermal_zone0 28000 -30000 150000 cpu-0\n"
    warm = Thermal(tmp_path / "phone", 41)
    again = bench(warm)
    assert again.folder == outcome.folder
    assert set(warm.limits) == {limit}


def test_a_damaged_file_blocks_nothing(bench: Campaign, tmp_path: Path) -> None:
    folder = bench(Thermal(tmp_path / "phone", 26), llama_bench('[ "$t" = 2 ] && exit 3')).folder
    for damage in (b"", b"\0\0\0", b"{}", b'{"zones": [{"name": "../x"}]}', b"\xff"):
        (folder / start_temperatures.START).write_bytes(damage)
        found = start_temperatures.zones(folder, Session(Thermal(tmp_path / "phone", 30)))
        assert [zone.celsius for zone in found.zones] == [30.0]
        assert start_temperatures.zones(folder, Session(Thermal(tmp_path / "phone", 50))).zones == found.zones


def test_a_sensor_that_is_stuck_is_named_and_not_waited_for(bench: Campaign, tmp_path: Path) -> None:
    others = ["thermal_zone1 25000 battery", "thermal_zone5 125000 mtkts_bts1"]
    target = Thermal(tmp_path / "phone", 26, *others)
    bench(target)
    assert "mtkts_bts1 (thermal_zone5) is stuck at 125 °C, far above all others: not waited for" in bench.steps
    assert all("thermal_zone5" not in limits for limits in target.limits)


def test_a_sensor_that_sticks_later_is_not_waited_for_either(tmp_path: Path) -> None:
    assert (
        len(
            start_temperatures.zones(
                tmp_path, Session(Thermal(tmp_path / "phone", 26, "thermal_zone5 27000 bts1"))
            ).zones
        )
        == 2
    )
    later = start_temperatures.zones(tmp_path, Session(Thermal(tmp_path / "phone", 26, "thermal_zone5 125000 bts1")))
    assert [zone.name for zone in later.zones] == ["thermal_zone0"]


def test_a_phone_without_temperatures_leaves_no_file(tmp_path: Path) -> None:
    target = Thermal(tmp_path / "phone", 26)
    target.said = ""
    assert start_temperatures.zones(tmp_path, Session(target)).zones == []
    assert not (tmp_path / start_temperatures.START).exists()
