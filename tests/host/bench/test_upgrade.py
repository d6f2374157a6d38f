"""Records that older versions left, kept as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from device.errors import BadInput
from host.bench.judged import judge_all
from host.bench.results import CAMPAIGN, RUNS, read_campaign, read_runs

KEPT = Path(__file__).parents[2] / "data" / "results" / "schema-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT, tmp_path / "old"))


def test_a_campaign_of_schema_1_is_read(folder: Path) -> None:
    assert json.loads((folder / CAMPAIGN).read_text())["schema_version"] == 1
    campaign = read_campaign(folder)
    assert campaign.schema_version == 2
    assert campaign.smoothdroid == "0.1.0, protocol 1"
    assert campaign.plan.protocol.repetitions == 5
    assert campaign.plan.masks == [()]
    assert [test.name for test in campaign.plan.tests] == ["pp32", "tg8"]


def test_its_runs_are_found_by_its_cells(folder: Path) -> None:
    campaign, runs = read_campaign(folder), read_runs(folder)
    raw = [json.loads(line) for line in (folder / RUNS).read_text().splitlines()]
    assert [run.tokens_per_s for run in runs] == [run["tokens_per_s"] for run in raw]
    judged = judge_all(folder, campaign, runs)
    assert len(judged) == 8
    assert all(one.failure == "" and len(one.rates) == 5 for one in judged)


def test_a_mask_and_a_cooling_are_kept(folder: Path) -> None:
    cooling = {"celsius": 40.0, "above_start": None, "within_s": 60}
    lines = []
    for line in (folder / RUNS).read_text().splitlines():
        facts = json.loads(line)
        facts["cell"] |= {"cpus": [4, 5], "cooling": cooling}
        lines.append(json.dumps(facts) + "\n")
    (folder / RUNS).write_text("".join(lines))
    facts = json.loads((folder / CAMPAIGN).read_text())
    facts["plan"] |= {"cpus": [4, 5], "cooling": cooling}
    (folder / CAMPAIGN).write_text(json.dumps(facts))
    campaign, runs = read_campaign(folder), read_runs(folder)
    assert campaign.plan.masks == [(4, 5)]
    assert campaign.plan.protocol.cooling is not None
    assert campaign.plan.protocol.cooling.celsius == 40
    assert {run.cell for run in runs} == set(campaign.plan.cells())


@pytest.mark.parametrize("lacking", ["plan", "phone"])
def test_a_damaged_old_campaign_is_bad_input(folder: Path, lacking: str) -> None:
    facts = json.loads((folder / CAMPAIGN).read_text())
    del facts[lacking]
    (folder / CAMPAIGN).write_text(json.dumps(facts))
    with pytest.raises(BadInput, match=rf"{CAMPAIGN} is damaged.*{lacking}"):
        read_campaign(folder)


@pytest.mark.parametrize("cell", [None, {}, [], "x", {"repetitions": 1}])
def test_a_damaged_old_run_is_named(folder: Path, cell: object) -> None:
    lines = (folder / RUNS).read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | {"cell": cell})
    (folder / RUNS).write_text("\n".join(lines) + "\n")
    with pytest.raises(BadInput, match="line 3 is damaged"):
        read_runs(folder)
    damage: list[str] = []
    assert len(read_runs(folder, damage)) == 7
    assert len(damage) == 1
