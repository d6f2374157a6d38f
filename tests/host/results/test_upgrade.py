"""Records that older versions left, kept as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.results.judged_cells import judge_all
from smoothdroid.host.results.record import (
    CAMPAIGN,
    RUNS,
    Run,
    append,
    conditions,
    observation,
    read_campaign,
    read_runs,
)

RESULTS = Path(__file__).parents[2] / "data" / "results"
KEPT = RESULTS / "schema-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT, tmp_path / "old"))


def test_a_campaign_of_schema_1_is_read(folder: Path) -> None:
    assert json.loads((folder / CAMPAIGN).read_text())["schema_version"] == 1
    campaign = read_campaign(folder)
    assert campaign.schema_version == 4
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


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RESULTS / "schema-2", tmp_path / "second"))


@pytest.mark.fault(
    "results of an older version of smoothdroid",
    transport="workstation",
    outcome="they are read, judged by today's rules, and can be continued",
)
def test_a_campaign_of_schema_2_is_read_with_its_samples(second: Path) -> None:
    campaign, runs = read_campaign(second), read_runs(second)
    raw = [json.loads(line) for line in (second / RUNS).read_text().splitlines()]
    assert {facts["schema_version"] for facts in raw} == {2}
    assert (campaign.schema_version, {run.schema_version for run in runs}) == (4, {3})
    assert [run.fingerprint for run in runs] == [facts["fingerprint"] for facts in raw]
    assert [run.tokens_per_s for run in runs] == [facts["tokens_per_s"] for facts in raw]
    assert all(observation(second, run).samples for run in runs)


def test_a_campaign_of_schema_3_has_a_transport_and_its_cells_keep_their_fingerprints() -> None:
    third = RESULTS / "schema-3"
    raw = json.loads((third / CAMPAIGN).read_text())
    campaign, runs = read_campaign(third), read_runs(third)
    assert (raw["schema_version"], raw["way"]) == (3, "local")
    assert (campaign.schema_version, campaign.transport) == (4, "local")
    assert len(runs) == len(list(campaign.plan.cells())) == 4
    for run in runs:
        assert run.fingerprint == run.cell.fingerprint(campaign.phone.id, campaign.transport, campaign.build_id)
        assert conditions(third, run)


def test_the_conditions_that_schema_2_kept_are_derived_from_its_samples(second: Path) -> None:
    raw = [json.loads(line)["conditions"] for line in (second / RUNS).read_text().splitlines()]
    for run, kept in zip(read_runs(second), raw, strict=True):
        seen = conditions(second, run)
        assert seen
        assert (seen.samples, seen.pss_peak_mb, seen.missing) == (
            kept["samples"],
            kept["pss_peak_mb"],
            kept["missing"],
        )
        assert {zone: celsius.highest for zone, celsius in seen.celsius.items()} == {
            zone: celsius["highest"] for zone, celsius in kept["celsius"].items()
        }


def test_a_record_of_schema_2_grows_in_todays(second: Path) -> None:
    before = (second / RUNS).read_bytes()
    runs = read_runs(second)
    new = runs[0].model_copy(update={"round": 7})
    append(second, new)
    assert (second / RUNS).read_bytes().startswith(before), "what was recorded is not written again"
    assert read_runs(second) == [*runs, new]


def test_what_is_derived_is_not_recorded() -> None:
    assert "conditions" not in Run.model_fields
