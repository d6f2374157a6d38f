from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.evaluate.record import write_evaluation
from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.results.record import CAMPAIGN, RUNS
from tests.host.fakes import campaign, phone
from tests.host.report.whole import MODELS, PLAN, evaluation, write_whole


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_whole(tmp_path / "a", campaign(PLAN, phone()))
    write_evaluation(evaluation(MODELS), tmp_path / "quality")
    return tmp_path


def test_campaigns_and_evaluations_are_found_however_deep(inputs: ReportData) -> None:
    assert (len(inputs.campaigns), len(inputs.evaluations), inputs.damage) == (2, 1, [])


def test_a_damaged_line_is_named_and_the_rest_shown(folder: Path) -> None:
    whole = load([folder])
    record = folder / "a" / RUNS
    lines = record.read_bytes().split(b"\n")
    lines[0] = b"\xffnonsense"
    record.write_bytes(b"\n".join(lines))
    found = load([folder])
    assert [str(record) in damaged and "line 1 is damaged" in damaged for damaged in found.damage] == [True]
    assert len(found.campaigns[0].runs) == len(whole.campaigns[0].runs) - 1
    assert len(found.campaigns[0].rows) == len(whole.campaigns[0].rows)


@pytest.mark.parametrize("rate", ["0", "-1", "NaN", "Infinity"])
def test_a_rate_that_is_none_is_damage(folder: Path, rate: str) -> None:
    record = folder / "a" / RUNS
    lines = record.read_text().split("\n")
    lines[0] = re.sub(r'"tokens_per_s":\[[^,]+', f'"tokens_per_s":[{rate}', lines[0])
    record.write_text("\n".join(lines))
    found = load([folder])
    assert ["its numbers are" in damaged for damaged in found.damage] == [True]
    assert len(found.campaigns[0].runs) == len(lines) - 2


def test_damaged_samples_are_named_and_count_as_not_seen(folder: Path) -> None:
    run = load([folder]).campaigns[0].runs[0]
    (folder / "a" / run.samples).write_text("nonsense")
    found = load([folder])
    assert len(found.damage) == 1
    assert run.samples in found.damage[0]


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 3}', "[]"])
def test_a_damaged_campaign_is_named_and_the_others_shown(folder: Path, content: str) -> None:
    (folder / "b").mkdir()
    (folder / "b" / CAMPAIGN).write_text(content)
    found = load([folder])
    assert len(found.campaigns) == 1
    assert [str(folder / "b" / CAMPAIGN) in damaged for damaged in found.damage] == [True]


def test_a_damaged_evaluation_is_named(folder: Path) -> None:
    (path,) = (folder / "quality").iterdir()
    facts = json.loads(path.read_text())
    facts["candidates"][0]["kld"] = facts["candidates"][0]["kld"][1:]
    path.write_text(json.dumps(facts))
    found = load([folder])
    assert found.evaluations == []
    assert "tiny-plain-q8_0 has not the reference's tokens" in found.damage[0]


def test_nothing_that_can_be_read_is_bad_input(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no results.*smoothdroid bench"):
        load([tmp_path / "nosuch"])
    (folder / "a" / CAMPAIGN).write_text("{}")
    with pytest.raises(BadInput, match="is damaged"):
        load([folder / "a"])


def test_evaluations_alone_are_enough(folder: Path) -> None:
    shutil.rmtree(folder / "a")
    found = load([folder])
    assert (found.campaigns, len(found.evaluations)) == ([], 1)


def test_the_same_evaluation_twice_is_shown_once(folder: Path) -> None:
    shutil.copytree(folder / "quality", folder / "again")
    assert len(load([folder]).evaluations) == 1
