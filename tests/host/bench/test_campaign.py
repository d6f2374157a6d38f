from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from device.errors import BadInput, CommandFailed, TargetLost, TargetTimeout
from device.local import LocalTarget
from device.target import Completed
from host.bench.artifact import Artifact, inspect
from host.bench.campaign import Binaries, Outcome, Watch, check_runnable, run_campaign, why_it_died
from host.bench.plan import Cell, Plan, make
from host.bench.results import CAMPAIGN, RUNS, Run, read_campaign, read_runs
from host.pypi import sha256_of
from tests.host.fakes import LLAMA_BENCH, Answer, ReplayTarget, asked, measures, phone, write_gguf

PHONE = phone()
ILLEGAL = Completed(132, "", "Illegal instruction")


@pytest.fixture
def models(tmp_path: Path) -> list[Artifact]:
    folder = tmp_path / "models"
    folder.mkdir()
    return [inspect(write_gguf(folder / f"{name}.gguf", fill)) for name, fill in (("plain", 1), ("smooth", 2))]


@pytest.fixture
def binaries(tmp_path: Path) -> Binaries:
    tool = tmp_path / "built" / "llama-bench"
    tool.parent.mkdir()
    tool.write_text(LLAMA_BENCH)
    return Binaries("0123456789abcdef", "i8mm", "fake", {"llama-bench": (tool, sha256_of(tool))})


@pytest.fixture
def plan(models: list[Artifact]) -> Plan:
    return make(models, threads="1,2", prompt="16", generate="8", repetitions=3, cpu_count=9)


class Bench:
    """A campaign on a replaying phone, again and again."""

    def __init__(self, plan: Plan, binaries: Binaries, tmp_path: Path) -> None:
        self.plan, self.binaries, self.folder = plan, binaries, tmp_path / "results"
        self.root = tmp_path / "phone"
        self.watched: list[tuple[str, int, int]] = []

    def __call__(self, answer: Answer = measures, plan: Plan | None = None) -> tuple[Outcome, ReplayTarget]:
        target = ReplayTarget(self.root, answer)
        outcome = run_campaign(plan or self.plan, target, PHONE, self.binaries, self.folder, Watch(on_cell=self._cell))
        return outcome, target

    def _cell(self, cell: Cell, number: int, total: int) -> None:
        self.watched.append((cell.model, number, total))

    def runs(self) -> list[Run]:
        (folder,) = self.folder.iterdir()
        return read_runs(folder)


@pytest.fixture
def bench(plan: Plan, binaries: Binaries, tmp_path: Path) -> Bench:
    return Bench(plan, binaries, tmp_path)


def two_threads_die(argv: Sequence[str]) -> Completed:
    return ILLEGAL if asked(argv)["-t"] == "2" else measures(argv)


class CableComesOut:
    """Measures `cells` and is gone."""

    def __init__(self, cells: int) -> None:
        self.left = cells

    def __call__(self, argv: Sequence[str]) -> Completed:
        if not self.left:
            raise TargetLost("adb:REPLAY went away")
        self.left -= 1
        return measures(argv)


def test_measures_every_cell_models_taking_turns(bench: Bench, plan: Plan) -> None:
    outcome, target = bench()
    assert [run.cell for run in outcome.measured] == list(plan.cells())
    assert (outcome.failed, outcome.kept) == ([], 0)
    assert bench.runs() == outcome.measured
    assert target.pushed == ["llama-bench", "plain.gguf", "smooth.gguf"]
    run_on_phone = [(Path(o["-m"]).name, o["-t"], o["-p"], o["-n"]) for o in map(asked, target.measured)]
    assert run_on_phone == [
        ("plain.gguf", "1", "16", "0"),
        ("smooth.gguf", "1", "16", "0"),
        ("plain.gguf", "2", "16", "0"),
        ("smooth.gguf", "2", "16", "0"),
        ("plain.gguf", "1", "0", "8"),
        ("smooth.gguf", "1", "0", "8"),
        ("plain.gguf", "2", "0", "8"),
        ("smooth.gguf", "2", "0", "8"),
    ]
    assert outcome.measured[2].tokens_per_s == [20.0, 21.0, 22.0]
    assert bench.watched[0] == ("plain", 1, 8)
    assert bench.watched[-1] == ("smooth", 8, 8)


def test_the_record_says_what_was_measured_with_what(bench: Bench, plan: Plan, binaries: Binaries) -> None:
    outcome, _ = bench()
    record = read_campaign(outcome.folder)
    assert (record.phone, record.plan, record.way, record.build_id) == (PHONE, plan, "adb", binaries.id)
    assert record.build_tools == {"llama-bench": binaries.tools["llama-bench"][1]}
    assert outcome.folder.name == f"google-pixel-8-adb-{record.id}"


@pytest.mark.parametrize("model", ["手机", "", "../../x", "-rf"])
def test_a_phones_name_makes_a_plain_folder_name(plan: Plan, binaries: Binaries, tmp_path: Path, model: str) -> None:
    outcome = run_campaign(
        plan, ReplayTarget(tmp_path / "phone", measures), phone(model=model), binaries, tmp_path / "results"
    )
    assert outcome.folder.parent == tmp_path / "results"
    assert outcome.folder.name[0].isalnum()


def test_what_was_measured_is_neither_run_nor_sent_again(bench: Bench) -> None:
    first, _ = bench()
    second, target = bench()
    assert (second.folder, second.measured, second.failed, second.kept) == (first.folder, [], [], 8)
    assert (target.measured, target.pushed) == ([], [])
    assert len(bench.runs()) == 8
    bench.root = bench.root.with_name("wiped")
    assert bench()[1].pushed == []


def test_a_failed_cell_is_recorded_others_go_on_and_only_it_is_tried_again(bench: Bench) -> None:
    outcome, _ = bench(two_threads_die)
    assert (len(outcome.measured), len(outcome.failed)) == (4, 4)
    for run in outcome.failed:
        assert (run.cell.threads, run.tokens_per_s, run.bench) == (2, [], None)
        assert "illegal instruction" in str(run.failure)
        assert "smoothdroid build --isa v8.0" in str(run.failure)
    again, target = bench()
    assert {asked(argv)["-t"] for argv in target.measured} == {"2"}
    assert (len(again.measured), again.failed, again.kept) == (4, [], 4)
    assert target.pushed == []
    assert len(bench.runs()) == 12, "what failed stays on record"
    assert bench()[0].kept == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"n_threads": 1},
        {"n_prompt": 17},
        {"n_gen": 9},
        {"samples_ts": [1.0]},
        {"samples_ts": [1.0, 2.0, 0.0]},
        {"samples_ts": []},
        {"samples_ts": "fast"},
    ],
)
def test_a_measurement_of_something_else_is_a_failure_never_a_number(
    bench: Bench, models: list[Artifact], changes: dict[str, object]
) -> None:
    plan = make(models[:1], threads="2", prompt="16", generate="0", repetitions=3, cpu_count=9)
    outcome, _ = bench(lambda argv: measures(argv, **changes), plan)
    assert outcome.measured == []
    (failed,) = outcome.failed
    assert failed.failure
    assert (failed.tokens_per_s, failed.bench) == ([], None)


@pytest.mark.parametrize("stdout", ["", "main: no such model\n", "{}\n", "{\n"])
def test_no_record_is_a_failure(bench: Bench, stdout: str) -> None:
    outcome, _ = bench(lambda argv: Completed(0, stdout, ""))
    assert (len(outcome.measured), len(outcome.failed)) == (0, 8)


def test_two_records_are_not_one(bench: Bench) -> None:
    outcome, _ = bench(lambda argv: Completed(0, 2 * measures(argv).stdout, ""))
    assert (len(outcome.measured), len(outcome.failed)) == (0, 8)


def test_a_cell_that_does_not_end_is_a_failure_and_others_go_on(bench: Bench) -> None:
    def hangs_at_two(argv: Sequence[str]) -> Completed:
        if asked(argv)["-t"] == "2":
            raise TargetTimeout("no answer in 3600 s")
        return measures(argv)

    outcome, _ = bench(hangs_at_two)
    assert (len(outcome.measured), len(outcome.failed)) == (4, 4)
    assert outcome.failed[0].failure == "no answer in 3600 s"


@pytest.mark.parametrize("cells", [0, 3, 7])
def test_a_lost_phone_keeps_what_was_measured_and_the_next_call_goes_on(bench: Bench, cells: int) -> None:
    with pytest.raises(TargetLost):
        bench(CableComesOut(cells))
    assert len(bench.runs()) == cells
    outcome, target = bench()
    assert (len(outcome.measured), outcome.kept, len(target.measured)) == (8 - cells, cells, 8 - cells)
    assert len(bench.runs()) == 8


def test_a_model_that_changed_under_its_name_is_another_campaign(bench: Bench, models: list[Artifact]) -> None:
    first, _ = bench()
    changed = inspect(write_gguf(models[1].path, fill=3))
    assert (changed.name, changed.sha256) != (models[1].name, models[1].sha256)
    plan = make([models[0], changed], threads="1,2", prompt="16", generate="8", repetitions=3, cpu_count=9)
    second, target = bench(plan=plan)
    assert second.folder != first.folder
    assert len(second.measured) == 8
    assert target.pushed == ["smooth.gguf"]
    assert len(read_runs(first.folder)) == 8


@pytest.mark.parametrize("name", ["ssh://user@phone:8022", "local:"])
def test_another_way_to_the_same_phone_is_another_campaign(bench: Bench, plan: Plan, name: str) -> None:
    first, _ = bench()
    other = ReplayTarget(bench.root, measures, name)
    second = run_campaign(plan, other, PHONE, bench.binaries, bench.folder)
    assert second.folder != first.folder
    assert len(second.measured) == 8


def test_a_damaged_record_stops_a_campaign_before_the_phone_is_touched(bench: Bench) -> None:
    first, _ = bench()
    for name in (RUNS, CAMPAIGN):
        (first.folder / name).write_text("nonsense\n")
        target = ReplayTarget(bench.root, measures)
        with pytest.raises(BadInput, match="damaged"):
            run_campaign(bench.plan, target, PHONE, bench.binaries, bench.folder)
        assert (target.measured, target.pushed) == ([], [])


def test_on_this_machine_for_real(
    plan: Plan, binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_DIES_AT", "2")
    target, results = LocalTarget(), tmp_path / "results"
    outcome = run_campaign(plan, target, PHONE, binaries, results)
    assert [run.tokens_per_s for run in outcome.measured] == [[10.5, 12.5, 11.5]] * 4
    assert [run.cell.threads for run in outcome.failed] == [2] * 4
    assert "ended with status 132: illegal instruction" in str(outcome.failed[0].failure)
    monkeypatch.delenv("FAKE_DIES_AT")
    monkeypatch.setenv("FAKE_THREADS", "1")
    wrong = run_campaign(plan, target, PHONE, binaries, results)
    assert (wrong.measured, len(wrong.failed)) == ([], 4)
    assert "llama-bench ran (1, 1, " in str(wrong.failed[0].failure)
    monkeypatch.delenv("FAKE_THREADS")
    again = run_campaign(plan, target, PHONE, binaries, results)
    assert (len(again.measured), again.failed, again.kept) == (4, [], 4)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (1, "it failed"),
        (126, "noexec"),
        (127, "cannot find it"),
        (132, "illegal instruction"),
        (137, "too little memory"),
        (139, "segmentation fault"),
    ],
)
def test_says_what_a_death_means(status: int, says: str) -> None:
    message = why_it_died(CommandFailed("adb:X", ["/a b/llama-bench", "-m", "x"], status, stderr="one\ntwo\n"))
    assert message.startswith(f"`'/a b/llama-bench'` ended with status {status}: ")
    assert says in message
    assert message.endswith("; it said: one / two")


def test_a_build_that_the_phone_cannot_run_is_refused() -> None:
    check_runnable(["asimd", "i8mm"], PHONE)
    with pytest.raises(BadInput, match="lacks asimddp, i8mm"):
        check_runnable(["asimd", "asimddp", "i8mm"], phone(features=["asimd"]))
