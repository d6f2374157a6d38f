from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, NoPhone, PhoneBusy, SmoothdroidError, TargetLost
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.target import Target
from smoothdroid.host.farm.health import HealthRecords, look, verdict_on
from smoothdroid.host.farm.member import Member, PhoneResult
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Run
from tests.host.fakes import campaign, model, phone, run_of


def member(name: str) -> Member:
    return Member(name, f"adb:{name}", LocalTarget)


def part(name: str, error: SmoothdroidError | None = None, runs: list[Run] | None = None) -> PhoneResult:
    return PhoneResult(member(name), error=error, runs=runs or [])


def runs(*failures: str | None) -> list[Run]:
    plan = Plan(models=[model("plain")], tests=[Test(n_gen=8)], threads=[1], protocol=Protocol(repetitions=1))
    known, (cell,) = campaign(plan, phone()), plan.cells()
    return [run_of(known, cell, () if failure else [5.0], failure) for failure in failures]


@pytest.fixture
def ledger(tmp_path: Path) -> HealthRecords:
    (tmp_path / "farm.toml").touch()
    return HealthRecords(tmp_path / "farm.toml", 3)


LOST = TargetLost("the cable broke.")


@pytest.mark.fault(
    "a phone fails again and again",
    transport="any",
    outcome="it goes into quarantine, which is said and can be ended",
)
def test_repeated_failures_end_in_quarantine_which_is_told_and_can_be_ended(ledger: HealthRecords) -> None:
    assert ledger.note_all([part("a", LOST), part("b", runs=runs(None))]) == []
    assert ledger.note_all([part("a", LOST)]) == []
    assert len(ledger.fit_for_work([member("a")])[0]) == 1
    (said,) = ledger.note_all([part("a", LOST), part("b", LOST)])
    assert said == "a goes into quarantine: 3 failures in a row, the last: the cable broke."
    fit, (why,) = ledger.fit_for_work([member("a"), member("b"), member("c")])
    assert [one.name for one in fit] == ["b", "c"]
    assert why.startswith("a is in quarantine and left out. 3 failures in a row, the last: the cable broke. ")
    assert why.endswith("/farm.toml --release a`")
    ledger.release("a")
    assert [one.name for one in ledger.fit_for_work([member("a")])[0]] == ["a"]
    assert ledger.note_all([part("a", LOST)]) == []
    with pytest.raises(BadInput, match="a is not in quarantine"):
        ledger.release("a")


def test_a_success_between_failures_counts_from_zero_again(ledger: HealthRecords) -> None:
    for _ in range(2):
        assert ledger.note_all([part("a", LOST), part("a", LOST), part("a", runs=runs(None, "out of memory"))]) == []
    assert ledger.read()["a"].last == "1 of 2 runs measured"


def test_what_is_no_fault_of_the_phone_is_not_counted() -> None:
    assert verdict_on(part("a", BadInput("the model is broken"))) is None
    assert verdict_on(part("a", PhoneBusy("it measures something else"))) is None
    assert verdict_on(part("a")) is None, "nothing was left to measure"
    assert verdict_on(part("a", NoPhone("gone"))) == ("gone", True)
    assert verdict_on(part("a", runs=runs("SIGILL", "SIGILL"))) == ("all of 2 runs failed, the last: SIGILL", True)


@pytest.mark.fault(
    "several processes note failures in one ledger",
    transport="workstation",
    outcome="none is lost",
)
def test_several_processes_write_and_nothing_is_lost(ledger: HealthRecords) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.note(f"p{number}", "gone", failed=True), range(40)))
    assert {record.failures for record in ledger.read().values()} == {1}
    assert len(ledger.read()) == 40


def test_a_damaged_record_is_named(ledger: HealthRecords) -> None:
    ledger.path.write_text('{"a": {"failures": -1}}')
    with pytest.raises(BadInput, match=r"farm\.health\.json is damaged"):
        ledger.read()


def test_a_look_at_phones_of_which_one_is_gone(ledger: HealthRecords) -> None:
    def gone() -> Target:
        raise NoPhone("b is not there")

    ledger.note("a", "4 of 4 runs measured", failed=False)
    a, b = look([Member("a", "local:", LocalTarget, ["desk"]), Member("b", "adb:B", gone)], ledger.read())
    assert a.phone
    assert a.phone.free_mb > 0
    assert a.cells()[:2] == ["a", "local:"]
    assert a.cells()[3:5] == ["desk", "ok"]
    assert a.cells()[-1].endswith("UTC: 4 of 4 runs measured")
    assert b.cells()[4:] == ["unreachable", "-", "-", "-", "-"]
    assert (b.facts()["reachable"], b.facts()["error"]) == (False, "b is not there")
