"""The results of a benchmark on many phones: table, health record and exit status, when one record is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.host.bench.campaign import CampaignResult
from smoothdroid.host.cli.bench_output import show
from smoothdroid.host.farm.health import HealthRecords
from smoothdroid.host.farm.member import Member, PhoneResult
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import CAMPAIGN, RUNS
from tests.host.fakes import campaign, model, phone, run_of, write_results

PLAN = Plan(models=[model("a")], threads=[1], tests=[Test(n_gen=8)], protocol=Protocol(repetitions=3))


@pytest.fixture
def results(tmp_path: Path) -> list[PhoneResult]:
    """Three phones that measured; the record of the second is damaged afterwards."""
    measured = []
    for name in ("a", "b", "c"):
        known = campaign(PLAN, phone(model=f"Phone {name}", id=name))
        (cell,) = PLAN.cells()
        run = run_of(known, cell, [10.0, 10.1, 10.2])
        folder = write_results(tmp_path / name, known, [run])
        member = Member(name, f"adb:{name}", LocalTarget)
        measured.append(PhoneResult(member, known.phone, CampaignResult(folder, [run], [], 0), [run]))
    return measured


@pytest.mark.fault(
    "the record of one phone of a farm cannot be read when all have measured",
    transport="any",
    outcome="it is named; the others' tables, the health record and the exit status are right",
)
@pytest.mark.parametrize("name", [CAMPAIGN, RUNS])
def test_one_unreadable_record_hides_no_other(
    results: list[PhoneResult], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    damaged = results[1].campaign
    assert damaged
    (damaged.folder / name).write_bytes(b"\0\xff{\n" * 3)
    assert show(results, single=False, json=False) == 0
    shown = capsys.readouterr()
    assert "Phone a" in shown.out
    assert "Phone c" in shown.out
    assert f"b: left out: {damaged.folder / name}" in shown.err.replace("\n", "")
    assert show(results, single=False, json=True) == 0
    cells = [result["cells"] for result in json.loads(capsys.readouterr().out)["phones"]]
    assert [len(rows) for rows in (cells[0], cells[2])] == [1, 1]


def test_a_phone_that_failed_alone_decides_the_exit_status(results: list[PhoneResult], tmp_path: Path) -> None:
    results[1].campaign, results[1].runs, results[1].error = None, [], SmoothdroidError("what it says makes no sense")
    records = HealthRecords(tmp_path / "farm.toml", 1)
    assert len(records.note_all(results)) == 1
    assert set(json.loads((tmp_path / "farm.health.json").read_text(encoding="utf-8"))) == {"a", "b", "c"}
    assert show(results, single=False, json=False) == 1
    assert [name for name, record in records.read().items() if record.quarantined] == ["b"]


def test_a_single_phone_s_facts_are_the_command_s_and_its_error_too(
    results: list[PhoneResult], capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(results[:1], single=True, json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["target"], facts["reused"], len(facts["runs"]), len(facts["cells"])) == ("adb:a", 0, 1, 1)
    assert facts["kept"] == facts["reused"]
    results[0].error = SmoothdroidError("lost")
    with pytest.raises(SmoothdroidError, match="lost"):
        show(results[:1], single=True, json=True)
