from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.telemetry import series
from smoothdroid.device.telemetry.conditions import Conditions
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import (
    CAMPAIGN,
    RUNS,
    SAMPLES,
    TAIL_BYTES,
    Campaign,
    Run,
    append,
    conditions,
    find_campaigns,
    observation,
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

SEEN = "column\ttime\ncolumn\tzone\tthermal_zone0\tBIG\nsample\t100\t30000\nsample\t200\t31000\n"


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


@pytest.mark.fault(
    "a line of runs.jsonl is damaged",
    transport="workstation",
    outcome="the line is named; a report names it and shows all others",
)
@pytest.mark.parametrize("damage", [b"", b"{}", b"nonsense", b"\xff\xfe", b'{"schema_version": 1', b"[]", b"null"])
def test_a_damaged_line_is_named(folder: Path, damage: bytes) -> None:
    lines = (folder / RUNS).read_bytes().split(b"\n")
    lines[1] = damage
    (folder / RUNS).write_bytes(b"\n".join(lines))
    with pytest.raises(BadInput, match=rf"{RUNS}, line 2 is damaged"):
        read_runs(folder)


@pytest.mark.fault(
    "a recorded run has neither tokens/s nor a reason why not",
    transport="workstation",
    outcome="its line is named as damaged; with `report` and `query` the others are read",
)
def test_a_run_without_rates_and_without_failure_is_damaged(folder: Path) -> None:
    lines = (folder / RUNS).read_bytes().split(b"\n")
    facts = json.loads(lines[1])
    lines[1] = json.dumps({**facts, "failure": None, "tokens_per_s": []}).encode()
    (folder / RUNS).write_bytes(b"\n".join(lines))
    with pytest.raises(BadInput, match=r"line 2 is damaged: .*neither a failure nor tokens/s"):
        read_runs(folder)
    damage: list[str] = []
    assert len(read_runs(folder, damage)) == len(DONE) - 1
    assert len(damage) == 1


def test_a_field_that_this_version_does_not_know_is_refused(folder: Path) -> None:
    known = json.loads(DONE[0].model_dump_json())
    (folder / RUNS).write_text(json.dumps(known | {"watts": 3}) + "\n")
    with pytest.raises(BadInput, match=r"line 1 is damaged.*watts"):
        read_runs(folder)
    (folder / CAMPAIGN).write_text(json.dumps(json.loads(CAMPAIGN_RECORD.model_dump_json()) | {"watts": 3}))
    with pytest.raises(BadInput, match="watts"):
        read_campaign(folder)


@pytest.mark.fault(
    "campaign.json is damaged",
    transport="workstation",
    outcome="the file is named, in one line; nothing is written over it",
)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_a_damaged_campaign_is_bad_input(folder: Path, content: bytes) -> None:
    (folder / CAMPAIGN).write_bytes(content)
    with pytest.raises(BadInput, match=f"{CAMPAIGN} is damaged"):
        read_campaign(folder)


@pytest.mark.fault(
    "results of a newer version of smoothdroid",
    transport="workstation",
    outcome="they are refused with the version that they have",
)
@pytest.mark.parametrize("version", [0, 5])
def test_a_record_of_another_version_is_refused(folder: Path, version: int) -> None:
    for record, name in ((CAMPAIGN_RECORD, CAMPAIGN), (DONE[0], RUNS)):
        (folder / name).write_text(
            json.dumps(json.loads(record.model_dump_json()) | {"schema_version": version}) + "\n"
        )
    with pytest.raises(BadInput, match="schema_version"):
        read_campaign(folder)
    with pytest.raises(BadInput, match="schema_version"):
        read_runs(folder)


MANY = 1 << 40
"""Bytes of a record that nobody can read at once; the file system keeps no block of them."""


def test_a_line_is_added_without_reading_those_before_it(folder: Path) -> None:
    record = folder / RUNS
    with record.open("r+b") as file:
        file.truncate(MANY)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    append(folder, DONE[0])
    with record.open("rb") as file:
        file.seek(MANY + 1)
        assert Run.model_validate_json(file.read()) == DONE[0]


@pytest.mark.parametrize("torn", [1, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 1, 3 * TAIL_BYTES])
@pytest.mark.fault(
    "smoothdroid is killed while it adds a line to runs.jsonl",
    transport="workstation",
    outcome="the torn line is cut off, however long it is, and its cell is measured again",
)
def test_a_torn_line_of_any_length_is_cut_off_alone(folder: Path, torn: int) -> None:
    record = folder / RUNS
    whole = record.read_bytes()
    record.write_bytes(whole + b"x" * torn)
    append(folder, DONE[0])
    assert record.read_bytes() == whole + DONE[0].model_dump_json().encode() + b"\n"


@pytest.mark.fault(
    "the workstation loses power and leaves NUL bytes at the end of runs.jsonl",
    transport="workstation",
    outcome="they are cut off; every whole line is kept",
)
def test_nul_bytes_at_the_end_are_no_run(folder: Path) -> None:
    record = folder / RUNS
    whole = record.read_bytes()
    record.write_bytes(whole + bytes(5000))
    assert read_runs(folder) == DONE
    append(folder, DONE[0])
    assert read_runs(folder) == [*DONE, DONE[0]]
    assert b"\0" not in record.read_bytes()


def test_samples_are_there_whole_before_the_run_that_refers_to_them(folder: Path) -> None:
    """A folder in the record's place makes the second step fail; the first one has been taken by then."""
    (folder / RUNS).unlink()
    (folder / RUNS).mkdir()
    with pytest.raises(IsADirectoryError):
        append(folder, DONE[0], SEEN)
    assert (folder / DONE[0].samples).read_text() == SEEN
    assert [path.name for path in (folder / SAMPLES).iterdir()] == [Path(DONE[0].samples).name]


@pytest.mark.fault(
    "smoothdroid is killed while it writes a run's samples",
    transport="workstation",
    outcome="the half file is never read as samples; the next run replaces it",
)
def test_half_written_samples_are_not_visible(folder: Path) -> None:
    whole = folder / DONE[0].samples
    whole.parent.mkdir()
    whole.with_name(f".{whole.name}.new").write_text(SEEN[:20])
    assert observation(folder, DONE[0]).samples == []
    append(folder, DONE[0], SEEN)
    assert len(observation(folder, DONE[0]).samples) == 2
    assert list(whole.parent.iterdir()) == [whole]


@pytest.mark.fault(
    "one damaged byte in a recorded run makes it another model's",
    transport="workstation",
    outcome="the line is named; a report shows all others",
)
def test_a_run_of_a_model_that_the_campaign_does_not_have_is_damage(folder: Path) -> None:
    record = folder / RUNS
    record.write_text(record.read_text().replace(DONE[0].cell.model_sha256, "0" * 64, 1))
    damage: list[str] = []
    assert read_runs(folder, damage) == DONE[1:]
    assert len(damage) == 1
    with pytest.raises(BadInput, match="line 1 is damaged: its model is none of the campaign's"):
        read_runs(folder)


def test_conditions_are_those_of_the_file_that_is_there_now(folder: Path) -> None:
    assert conditions(folder, DONE[0]) is None
    for extra in ("", "sample\t400\t45000\n"):
        append(folder, DONE[0], SEEN + extra)
        seen = conditions(folder, DONE[0])
        assert seen
        assert seen == Conditions.of(series.parse(SEEN + extra))
        assert seen.samples == (3 if extra else 2)


def test_a_text_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    wrong = CAMPAIGN_RECORD.model_copy(update={"build_reason": os.fsdecode(b"\xb0\xa1")})
    with pytest.raises(BadInput, match="bytes that are no text"):
        write_campaign(tmp_path / "new", wrong)
    assert not (tmp_path / "new").exists()


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
