"""The end of a campaign on many phones: table, ledger and exit status, when one phone's results cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.host.bench.campaign import CampaignResult
from smoothdroid.host.cli.bench import _bench_many
from smoothdroid.host.farm.coordinator import Coordinator, Member, PhoneResult
from smoothdroid.host.farm.health import HealthRecords
from smoothdroid.host.farm.progress_table import ProgressRow
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import CAMPAIGN, RUNS
from tests.host.fakes import campaign, model, phone, run_of, write_results

PLAN = Plan(models=[model("a")], threads=[1], tests=[Test(n_gen=8)], protocol=Protocol(repetitions=3))


class Done(Coordinator):
    """A coordinator whose phones have ended."""

    def __init__(self, ended: list[PhoneResult]) -> None:
        self.rows, self._became = [ProgressRow(one.member.name) for one in ended], ended

    def run(self) -> list[PhoneResult]:
        return self._became


@pytest.fixture
def ended(tmp_path: Path) -> list[PhoneResult]:
    """Three phones that measured; the record of the second is damaged afterwards."""
    parts = []
    for name in ("a", "b", "c"):
        known = campaign(PLAN, phone(model=f"Phone {name}", id=name))
        (cell,) = PLAN.cells()
        run = run_of(known, cell, [10.0, 10.1, 10.2])
        folder = write_results(tmp_path / name, known, [run])
        member = Member(name, f"adb:{name}", LocalTarget)
        parts.append(PhoneResult(member, known.phone, CampaignResult(folder, [run], [], 0), [run]))
    return parts


@pytest.mark.fault(
    "the record of one phone of a farm cannot be read when all have measured",
    transport="any",
    outcome="it is named; the others' tables, the ledger and the exit status are right",
)
@pytest.mark.parametrize("name", [CAMPAIGN, RUNS])
def test_one_unreadable_record_hides_no_other(
    ended: list[PhoneResult], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    damaged = ended[1].outcome
    assert damaged
    (damaged.folder / name).write_bytes(b"\0\xff{\n" * 3)
    _bench_many(Done(ended), False, HealthRecords(tmp_path / "farm.toml", 3))
    shown = capsys.readouterr()
    assert "Phone a" in shown.out
    assert "Phone c" in shown.out
    assert f"b: left out: {damaged.folder / name}" in shown.err.replace("\n", "")
    assert set(json.loads((tmp_path / "farm.health.json").read_text())) == {"a", "b", "c"}
    _bench_many(Done(ended), True)
    cells = [one["cells"] for one in json.loads(capsys.readouterr().out)["phones"]]
    assert [len(one) for one in (cells[0], cells[2])] == [1, 1]


def test_a_phone_that_failed_alone_decides_the_exit_status(ended: list[PhoneResult], tmp_path: Path) -> None:
    ended[1].outcome, ended[1].runs, ended[1].error = None, [], SmoothdroidError("what it says makes no sense")
    ledger = HealthRecords(tmp_path / "farm.toml", 1)
    with pytest.raises(typer.Exit) as left:
        _bench_many(Done(ended), False, ledger)
    assert left.value.exit_code == 1
    assert [name for name, record in ledger.read().items() if record.quarantined] == ["b"]
