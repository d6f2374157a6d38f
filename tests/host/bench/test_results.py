from __future__ import annotations

import json
from pathlib import Path

import pytest

from device.errors import BadInput
from host.bench.cell import Protocol, Test
from host.bench.plan import Plan
from host.bench.results import (
    CAMPAIGN,
    RUNS,
    Campaign,
    Run,
    append,
    find_campaigns,
    read_campaign,
    read_runs,
    write_campaign,
)
from tests.host.fakes import campaign, model, phone, run_of

PLAN = Plan(
    models=[model("a")], threads=[1, 2, 3], tests=[Test(n_prompt=16, n_gen=0)], protocol=Protocol(repetitions=2)
)
CAMPAIGN_RECORD = campaign(PLAN, phone())
DONE = [
    run_of(CAMPAIGN_RECORD, cell, rates=[10.0, 0.1 + cell.threads])
    if cell.threads < 3
    else run_of(CAMPAIGN_RECORD, cell, failure="한 | 줄\n두 줄")
    for cell in PLAN.cells()
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_campaign(tmp_path, CAMPAIGN_RECORD)
    for run in DONE:
        append(tmp_path, run)
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    assert read_runs(folder) == DONE
    assert read_campaign(folder) == CAMPAIGN_RECORD
    assert sorted(path.name for path in folder.iterdir()) == [CAMPAIGN, RUNS]


def test_no_run_yet_is_no_error(tmp_path: Path) -> None:
    assert read_runs(tmp_path) == []


def test_a_record_cut_anywhere_in_its_last_line_loses_that_run_only_and_can_go_on(folder: Path) -> None:
    record = folder / RUNS
    whole = record.read_bytes()
    last_line = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for size in range(last_line, len(whole)):
        record.write_bytes(whole[:size])
        assert read_runs(folder) == DONE[:2]
        append(folder, DONE[2])
        assert record.read_bytes() == whole


def test_a_record_cut_in_its_first_line_is_an_empty_one(folder: Path) -> None:
    record = folder / RUNS
    record.write_bytes(record.read_bytes()[:50])
    assert read_runs(folder) == []
    append(folder, DONE[0])
    assert read_runs(folder) == DONE[:1]


@pytest.mark.parametrize("damage", [b"", b"{}", b"nonsense", b"\xff\xfe", b'{"schema_version": 1', b"[]", b"null"])
def test_a_damaged_line_is_named(folder: Path, damage: bytes) -> None:
    lines = (folder / RUNS).read_bytes().split(b"\n")
    lines[1] = damage
    (folder / RUNS).write_bytes(b"\n".join(lines))
    with pytest.raises(BadInput, match=rf"{RUNS}, line 2 is damaged"):
        read_runs(folder)


def test_a_field_that_this_version_does_not_know_is_refused(folder: Path) -> None:
    known = json.loads(DONE[0].model_dump_json())
    (folder / RUNS).write_text(json.dumps(known | {"watts": 3}) + "\n")
    with pytest.raises(BadInput, match=r"line 1 is damaged.*watts"):
        read_runs(folder)
    (folder / CAMPAIGN).write_text(json.dumps(json.loads(CAMPAIGN_RECORD.model_dump_json()) | {"watts": 3}))
    with pytest.raises(BadInput, match="watts"):
        read_campaign(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_a_damaged_campaign_is_bad_input(folder: Path, content: bytes) -> None:
    (folder / CAMPAIGN).write_bytes(content)
    with pytest.raises(BadInput, match=f"{CAMPAIGN} is damaged"):
        read_campaign(folder)


@pytest.mark.parametrize("version", [0, 3])
def test_a_record_of_another_version_is_refused(folder: Path, version: int) -> None:
    for record, name in ((CAMPAIGN_RECORD, CAMPAIGN), (DONE[0], RUNS)):
        (folder / name).write_text(
            json.dumps(json.loads(record.model_dump_json()) | {"schema_version": version}) + "\n"
        )
    with pytest.raises(BadInput, match="schema_version"):
        read_campaign(folder)
    with pytest.raises(BadInput, match="schema_version"):
        read_runs(folder)


@pytest.mark.parametrize("kind", [Campaign, Run])
def test_records_cannot_be_changed(kind: type[Campaign] | type[Run]) -> None:
    assert kind.model_config["frozen"] is True


def test_finds_campaigns_however_deep(tmp_path: Path) -> None:
    folders = [tmp_path / "b" / "deep" / "x", tmp_path / "a"]
    for folder in folders:
        write_campaign(folder, CAMPAIGN_RECORD)
    assert find_campaigns([tmp_path]) == sorted(folders)
    assert find_campaigns([tmp_path / "a", tmp_path]) == sorted(folders)


@pytest.mark.parametrize("place", ["empty", "nosuch", "file"])
def test_no_campaign_is_bad_input_that_says_how_to_make_one(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"holds no results.*smoothdroid bench"):
        find_campaigns([tmp_path / place])
