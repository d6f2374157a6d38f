"""A farm of phones that are folders of this machine; what runs there runs here, for real."""

from __future__ import annotations

import _thread
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.common.errors import BadInput, NoPhone, TargetLost
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import Task
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.request import Request
from smoothdroid.host.farm.bench_call import BenchCall, Display
from smoothdroid.host.farm.coordinator import Coordinator
from smoothdroid.host.farm.health import HealthRecords, look
from smoothdroid.host.farm.member import Member
from smoothdroid.host.farm.progress_table import ProgressRow
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.record import Run, read_campaign, read_runs
from tests.host.fakes import LLAMA_BENCH, FolderPhone, llama_bench, write_gguf
from tests.waiting import eventually

SMALL: dict[str, Any] = {"threads": "1,2", "prompt": "16", "generate": "8", "repetitions": 2, "rounds": 1}


class Lab(Display):
    """Phones, models, a build; and what people were told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, list[str]()
        self.phones: dict[str, _Own] = {}
        self.gone: set[str] = set()
        for name, fill in (("plain", 1), ("smooth", 2)):
            write_gguf(folder / f"{name}.gguf", fill)
        self.asked = Request(models=[str(folder / "*.gguf")], **SMALL)
        self.scripts: dict[str, str] = {}

    def binaries(self, target: Target, phone: Phone) -> Binaries:
        tool = self.folder / target.name.replace(":", "-") / "built" / "llama-bench"
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(self.scripts.get(target.name, LLAMA_BENCH))
        return Binaries("0123456789abcdef", "native", "fake", {"llama-bench": (tool, sha256_of(tool))})

    def step(self, phone: str, text: str) -> None:
        self.said.append(f"{phone}: {text}")

    warning = step

    def cell_begins(self, phone: str, cell: Cell, number: int, total: int) -> None:
        self.step(phone, f"begins {cell.model}")

    def run_ended(self, phone: str, run: Run) -> None:
        self.step(phone, f"measured {run.cell.model}, {run.cell.test.name}")

    def retrying(self, phone: str, error: Exception) -> None:
        self.step(phone, str(error))

    given_up = retrying

    def member(self, name: str, way: str = "adb", **more: Any) -> Member:
        def opened() -> Target:
            if name in self.gone:
                raise NoPhone(f"{name} is not there")
            return self.phones[name]

        self.phones[name] = _Own(self.folder / f"phone-{name}", f"{way}:{name}", self, name)
        return Member(name, f"{way}:{name}", opened, **more)

    def coordinator(self, *names: str, asked: Request | None = None, share: bool = False) -> Coordinator:
        members = [self.member(name) for name in names]
        return self.of(members, asked=asked, share=share)

    def of(self, members: list[Member], asked: Request | None = None, share: bool = False) -> Coordinator:
        call = BenchCall(asked or self.asked, self.folder / "results", self.binaries, self, share=share, patience_s=0.3)
        self.rows = [ProgressRow(member.name) for member in members]
        return Coordinator(members, self.rows, call, retry_s=0.1)


class _Own(FolderPhone):
    """A phone with a serial number; it is lost while its name is in `gone`."""

    def __init__(self, root: Path, name: str, lab: Lab, called: str) -> None:
        super().__init__(root, name)
        self._lab, self._called = lab, called
        self.says: Callable[[str], str] = lambda text: text
        """What it makes of its description."""

    def run(self, argv, **more):  # type: ignore[no-untyped-def]
        if self._called in self._lab.gone:
            raise TargetLost(f"{self._called} is lost")
        done = super().run(argv, **more)
        if "describe" in argv:
            told = (
                f"==getprop\n[ro.serialno]: [{self._called[0]}]\n[ro.product.model]: [Pixel]\n[ro.soc.model]: [zuma]\n"
            )
            return type(done)(done.exit_status, self.says(done.stdout.replace("==getprop\n", told)), done.stderr)
        return done


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_three_phones_measure_the_plan_each(lab: Lab) -> None:
    coordinator = lab.coordinator("a", "b", "c")
    ended = coordinator.run()
    assert [one.error for one in ended] == [None] * 3
    folders = [one.campaign.folder for one in ended if one.campaign]
    assert len(set(folders)) == 3
    for one, folder in zip(ended, folders, strict=True):
        campaign, runs = read_campaign(folder), read_runs(folder)
        assert campaign.target == one.member.on
        assert [run.cell for run in runs] == list(campaign.plan.turns(0))
        assert [run.failure for run in runs] == [None] * 8
    assert [(row.done, row.left, row.now) for row in lab.rows] == [(8, 0, "done")] * 3
    assert any(text.startswith("b: measured plain, pp16") for text in lab.said)
    again = lab.coordinator("a", "b", "c").run()
    assert [(len(one.runs), one.campaign and one.campaign.reused) for one in again] == [(0, 8)] * 3


@pytest.mark.fault(
    "a phone of a farm is not there",
    transport="any",
    outcome="it is tried again while others work, then named; the others are measured",
)
def test_a_phone_that_is_not_there_keeps_nobody_and_is_told(lab: Lab) -> None:
    lab.gone.add("b")
    a, b = lab.coordinator("a", "b").run()
    assert len(a.runs) == 8
    assert (b.runs, b.campaign) == ([], None)
    assert isinstance(b.error, NoPhone)
    assert any("b is not there" in text for text in lab.said)


HOSTILE = {
    "CPUs whose numbers are superscripts": "==cpus\n0 ² 1\n² 1000 1\n",
    "a CPU with a number of 5000 digits": f"==cpus\n{'9' * 5000} 1000 1\n",
    "memory of 400 digits": f"==meminfo\nMemTotal: {'9' * 400} kB\nMemAvailable: {'9' * 400} kB\n",
    "an answer that is no text": "\udcff==uname\n",
    "nothing": None,
}


@pytest.mark.fault(
    "a phone in a farm describes itself with absurd numbers, superscript digits or nothing",
    transport="any",
    outcome="it fails alone and is named; the others are measured, and table, health record and exit status are right",
)
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_phone_fails_alone(lab: Lab, what: str) -> None:
    said = HOSTILE[what]
    members = [lab.member(name) for name in ("a", "b", "c")]
    lab.phones["b"].says = lambda text: "" if said is None else text + said
    coordinator = lab.of(members)
    a, b, c = coordinator.run()
    assert [len(one.runs) for one in (a, c)] == [8, 8]
    assert (a.error, c.error) == (None, None)
    assert [row.now for row in lab.rows][::2] == ["done", "done"]
    assert all(isinstance(cell, str) for row in lab.rows for cell in row.cells())
    ledger = HealthRecords(lab.folder / "farm.toml", 1)
    quarantined = ledger.note_all([a, b, c])
    assert ledger.read()["a"].failures == ledger.read()["c"].failures == 0
    looked = look(members, ledger.read())
    assert [one.cells()[0] for one in looked] == ["a", "b", "c"]
    if b.error:
        assert b.error.exit_status == 1
        assert any(text.startswith("b: ") for text in lab.said)
        assert len(quarantined) == 1
        assert looked[1].cells()[4] == "quarantine"
        assert len(str(b.error)) < 1000


def test_an_error_that_nothing_is_prepared_for_ends_one_phones_part(lab: Lab) -> None:
    class Odd(Lab):
        def binaries(self, target: Target, phone: Phone) -> Binaries:
            if target.name == "adb:b":
                return {}["no such build"]  # type: ignore[index]
            return super().binaries(target, phone)

    odd = Odd(lab.folder)
    a, b, c = odd.coordinator("a", "b", "c").run()
    assert [len(one.runs) for one in (a, b, c)] == [8, 0, 8]
    assert re.match(r"an unexpected KeyError \(test_coordinator\.py, line \d+\): 'no such build'", str(b.error))


@pytest.mark.fault(
    "a campaign's record is damaged while equal phones share a plan",
    transport="workstation",
    outcome="it is named and left out; its cells are measured again",
)
def test_a_damaged_record_among_the_results_stops_no_phone(lab: Lab) -> None:
    first = lab.coordinator("a", share=True).run()[0].campaign
    assert first
    (first.folder / "campaign.json").write_text("{")
    a, b = lab.coordinator("b", "c", share=True).run()
    assert (a.error, b.error) == (None, None)
    assert len(a.runs) + len(b.runs) == 8
    assert any("campaign.json is damaged" in text for text in lab.said)


@pytest.mark.fault(
    "a phone of a farm drops out and comes back",
    transport="any",
    outcome="its campaign goes on; each cell is measured once",
)
def test_a_phone_that_drops_out_and_comes_back_loses_nothing(lab: Lab) -> None:
    asked = lab.asked
    lab.scripts = dict.fromkeys(("adb:a", "adb:b"), llama_bench("sleep 0.3"))
    coordinator = lab.coordinator("a", "b", asked=asked)
    b = lab.rows[1]

    def unplug_and_plug() -> None:
        eventually(lambda: b.done >= 1)
        lab.gone.add("b")
        eventually(lambda: b.now == "unreachable; will retry")
        lab.gone.clear()

    somebody = threading.Thread(target=unplug_and_plug)
    somebody.start()
    ended = coordinator.run()
    somebody.join()
    assert [one.error for one in ended] == [None, None]
    for one in ended:
        assert one.campaign
        assert sorted(str(run.cell) for run in read_runs(one.campaign.folder)) == sorted(
            str(cell) for cell in read_campaign(one.campaign.folder).plan.cells()
        )
    assert len(lab.phones["b"].measured()) == 8, "each cell ran once over there"


def test_equal_phones_share_and_the_record_says_who_measured_what(lab: Lab) -> None:
    lab.scripts = dict.fromkeys(("adb:a", "adb:b"), llama_bench("sleep 0.3"))
    ended = lab.coordinator("a", "b", share=True).run()
    runs = [read_runs(one.campaign.folder) for one in ended if one.campaign]
    assert all(runs), "both had a part"
    assert sorted(str(run.cell) for run in [*runs[0], *runs[1]]) == sorted(
        str(cell)
        for cell in read_campaign(ended[0].campaign.folder).plan.cells()  # type: ignore[union-attr]
    )
    for part in runs:
        assert {run.cell.model for run in part} == {"plain", "smooth"}, "the models of a setting on one phone"
    again = lab.coordinator("a", "b", "d", share=True).run()
    assert [one.runs for one in again] == [[], [], []], "a new equal phone measures nothing anew"


@pytest.mark.fault(
    "a phone dies while equal phones share a plan",
    transport="any",
    outcome="another phone measures its cells",
)
def test_a_shared_cell_moves_when_its_phone_dies(lab: Lab) -> None:
    lab.scripts = {"adb:a": llama_bench("sleep 1"), "adb:b": llama_bench("sleep 60")}
    coordinator = lab.coordinator("a", "b", share=True)

    def die() -> None:
        eventually(lambda: lab.phones["b"].measured())
        lab.gone.add("b")

    somebody = threading.Thread(target=die)
    somebody.start()
    a, b = coordinator.run()
    somebody.join()
    lab.gone.clear()
    session = Session(lab.phones["b"])
    session.stop(str(session.running_job()))
    assert a.campaign
    assert len(a.runs) == 8, "all of the plan"
    assert isinstance(b.error, TargetLost | NoPhone)
    assert b.runs == []


def test_words_for_one_phone_are_measured_there_alone(lab: Lab) -> None:
    asked = Request.model_validate(
        {**lab.asked.model_dump(exclude_unset=True), "for": [{"phones": {"phone": "a"}, "threads": "1"}]}
    )
    a, b = lab.coordinator("a", "b", asked=asked).run()
    assert ({run.cell.threads for run in a.runs}, {run.cell.threads for run in b.runs}) == ({1}, {1, 2})


def test_a_phone_for_which_the_plan_is_not_or_that_may_not_run_it_says_so(lab: Lab) -> None:
    asked = Request.model_validate({**lab.asked.model_dump(exclude_unset=True), "phones": {"label": "desk"}})
    members = [
        lab.member("a", labels=["desk"], models=["sm*"]),
        lab.member("b"),
        lab.member("c", labels=["desk"], models=["x"]),
    ]
    a, b, c = lab.of(members, asked=asked).run()
    assert {run.cell.model for run in a.runs} == {"smooth"}
    assert (b.nothing_to_do, b.runs) == ("the plan is for other phones than Pixel: see `phones` in it", [])
    assert (c.nothing_to_do, c.runs) == ("it may run none of the plan's models, only x", [])


@pytest.mark.fault(
    "one phone is reached two ways at once",
    transport="any",
    outcome="the two campaigns take turns",
)
def test_two_ways_to_one_phone_take_turns(lab: Lab) -> None:
    log = lab.folder / "log"
    for name in ("adb:a1", "ssh:a2"):
        lab.scripts[name] = llama_bench(f"echo {name} begins >> {log}; sleep 0.3; echo {name} ends >> {log}")
    ended = lab.of([lab.member("a1"), lab.member("a2", way="ssh")]).run()
    assert [len(one.runs) for one in ended] == [8, 8]
    events = [line.split() for line in log.read_text().splitlines()]
    for begin, end in zip(events[::2], events[1::2], strict=True):
        assert begin[0] == end[0]
        assert (begin[1], end[1]) == ("begins", "ends")
    assert {name for name, _ in events} == {"adb:a1", "ssh:a2"}


class _Marked(_Own):
    """A phone whose mark is its name's."""

    def run(self, argv, **more):  # type: ignore[no-untyped-def]
        done = super().run(argv, **more)  # type: ignore[no-untyped-call]
        mark = self._called.encode().hex().rjust(32, "0")
        return replace(done, stdout=re.sub(r"==mark\n.*", f"==mark\n{mark}", done.stdout))


@pytest.mark.fault(
    "Two phones of one call have the same serial number",
    transport="any",
    outcome="the second one gets an error; it is never given the first one's results",
)
def test_two_phones_with_one_serial_number_are_not_taken_for_one(lab: Lab) -> None:
    members = [lab.member("a1"), lab.member("a2")]
    for name in ("a1", "a2"):  # on both, the folder has the same path
        lab.phones[name] = _Marked(lab.folder / "phone-a1", f"adb:{name}", lab, name)
    ended = lab.of(members).run()
    (refused,) = [one for one in ended if one.error]
    (fine,) = [one for one in ended if not one.error]
    assert "another phone of this call has the same serial number" in str(refused.error)
    assert (len(fine.runs), refused.runs, refused.campaign) == (8, [], None)


@pytest.mark.fault(
    "a phone measures for another controller",
    transport="any",
    outcome="it is left alone and named; the others are measured",
)
def test_a_phone_that_another_controller_measures_is_left_alone(lab: Lab) -> None:
    coordinator = lab.coordinator("a", "b")
    session = Session(lab.phones["a"])
    session.start("others", [Task("cell", ["sleep", "60"], 100)])
    a, b = coordinator.run()
    assert "running another job, others" in str(a.error)
    assert len(b.runs) == 8
    session.stop("others")


@pytest.mark.fault(
    "Ctrl-C while many phones measure",
    transport="any",
    outcome="the work ends on each of them; the next call continues",
)
def test_ctrl_c_ends_the_work_on_every_phone_and_the_next_call_goes_on(lab: Lab) -> None:
    lab.scripts = dict.fromkeys(("adb:a", "adb:b"), llama_bench("sleep 60"))
    coordinator = lab.coordinator("a", "b")

    def presses() -> None:
        eventually(lambda: all(lab.phones[name].measured() for name in ("a", "b")))
        _thread.interrupt_main()

    threading.Thread(target=presses).start()
    with pytest.raises(KeyboardInterrupt):
        coordinator.run()
    assert [Session(lab.phones[name]).running_job() for name in ("a", "b")] == [None, None]
    assert [row.now for row in lab.rows] == ["stopped", "stopped"]


def test_a_wrong_model_stops_who_needs_it_and_is_told_once_for_each(lab: Lab) -> None:
    asked = Request(models=[str(lab.folder / "none.gguf")], **SMALL)
    (a,) = lab.coordinator("a", asked=asked).run()
    assert isinstance(a.error, BadInput)
