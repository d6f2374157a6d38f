from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from smoothdroid.device.common.errors import BadInput, Damaged, PhoneBusy, TargetLost
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import Task
from smoothdroid.device.telemetry import series
from smoothdroid.device.telemetry.conditions import Conditions
from smoothdroid.device.transport.target import Completed, Progress, Target
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.campaign import CampaignEvents, CampaignResult, finished
from smoothdroid.host.bench.plan import make
from smoothdroid.host.bench.request import Request
from smoothdroid.host.bench.schedule import LEAST_PROCESSES
from smoothdroid.host.gguf.artifact import Artifact, inspect
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import (
    CAMPAIGN,
    RUNS,
    Run,
    alone,
    conditions,
    observation,
    read_campaign,
    read_runs,
)
from smoothdroid.host.results.statistics import interval
from tests.host.campaigns import run_campaign
from tests.host.fakes import LLAMA_BENCH, LLAMA_COMPLETION, FolderPhone, llama_bench, phone, write_gguf

PHONE = phone()
SMALL = Request(threads="1,2", prompt="16", generate="8", repetitions=3, rounds=1)


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
    return make(models, SMALL, PHONE)


class Bench:
    """A campaign on a phone that is a folder here, again and again."""

    def __init__(self, plan: Plan, binaries: Binaries, tmp_path: Path) -> None:
        self.plan, self.binaries, self.folder = plan, binaries, tmp_path / "results"
        self.target = FolderPhone(tmp_path / "phone")
        self.watched: list[tuple[str, int, int]] = []
        self.warnings: list[str] = []

    def __call__(
        self, script: str = LLAMA_BENCH, plan: Plan | None = None, target: Target | None = None
    ) -> CampaignResult:
        self.play(script)
        watch = CampaignEvents(
            on_cell=lambda cell, number, total: self.watched.append((cell.model, number, total)),
            on_warning=self.warnings.append,
        )
        return run_campaign(plan or self.plan, target or self.target, PHONE, self.binaries, self.folder, watch)

    def play(self, script: str) -> None:
        """Have llama-bench be this script, under the same build."""
        tool = self.binaries.tools["llama-bench"][0]
        tool.write_text(script)
        self.binaries = replace(self.binaries, tools={**self.binaries.tools, "llama-bench": (tool, sha256_of(tool))})

    def runs(self) -> list[Run]:
        (folder,) = self.folder.iterdir()
        return read_runs(folder)


@pytest.fixture
def bench(plan: Plan, binaries: Binaries, tmp_path: Path) -> Bench:
    return Bench(plan, binaries, tmp_path)


TWO_THREADS_DIE = llama_bench('[ "$t" = 2 ] && kill -ILL $$')


def test_measures_every_cell_in_its_turn(bench: Bench, plan: Plan) -> None:
    outcome = bench()
    turns = list(plan.turns(0))
    assert [run.cell for run in outcome.measured] == turns
    assert (outcome.failed, outcome.reused) == ([], 0)
    assert bench.runs() == outcome.measured
    assert bench.target.pushed == ["llama-bench", "plain.gguf", "smooth.gguf"]
    run_on_phone = [(Path(o["-m"]).name, o["-t"], o["-p"], o["-n"]) for o in bench.target.measured()]
    assert run_on_phone == [
        (f"{cell.model}.gguf", str(cell.threads), str(cell.test.n_prompt), str(cell.test.n_gen)) for cell in turns
    ]
    two = next(run for run in outcome.measured if run.cell.threads == 2)
    assert two.tokens_per_s == [20.5, 22.5, 21.5]
    assert bench.watched == [(cell.model, number, 8) for number, cell in enumerate(turns, 1)]
    assert Session(bench.target).jobs() == [], "nothing is left on the phone"


def test_the_record_says_what_was_measured_with_what(bench: Bench, plan: Plan) -> None:
    outcome = bench()
    record = read_campaign(outcome.folder)
    assert (record.phone, record.plan, record.transport, record.build_id) == (PHONE, plan, "adb", bench.binaries.id)
    assert record.build_tools == {"llama-bench": bench.binaries.tools["llama-bench"][1]}
    assert outcome.folder.name == f"google-pixel-8-adb-{record.id}"


def test_what_a_tool_loads_is_sent_with_it_and_found(bench: Bench, small: Plan) -> None:
    tool = bench.binaries.tools["llama-bench"]
    library = tool[0].with_name("libllama.so")
    library.write_text("a library")
    bench.binaries = replace(
        bench.binaries, extra_files=[tool, (library, sha256_of(library))], reason="no CPU has i8mm"
    )
    script = llama_bench('cat "$LD_LIBRARY_PATH/libllama.so" "$(dirname "$0")/libllama.so" >&2 || exit 1')
    tool[0].write_text(script)
    bench.binaries = replace(
        bench.binaries, extra_files=[(tool[0], sha256_of(tool[0])), *bench.binaries.extra_files[1:]]
    )
    outcome = bench(script, small)
    assert outcome.failed == []
    assert read_campaign(outcome.folder).build_reason == "no CPU has i8mm"


def test_the_record_says_what_the_phone_was_like(bench: Bench, small: Plan) -> None:
    run = bench(llama_bench("sleep 1.5"), small).measured[0]
    (folder,) = bench.folder.iterdir()
    seen = conditions(folder, run)
    assert seen
    assert seen.samples >= 1
    assert seen.available_mb
    assert (run.mask_held, run.waited, run.attempt) == (None, None, 1)
    assert run.wall_s >= 1.5
    assert Conditions.of(series.parse((folder / run.samples).read_text())) == seen
    assert observation(folder, run).samples[0].available_mb
    (folder / run.samples).write_text("nonsense\n")
    for read in (observation, conditions):
        with pytest.raises(BadInput, match="is damaged: the samples have no header"):
            read(folder, run)


def test_a_mask_is_set_and_read_back(bench: Bench, plan: Plan) -> None:
    cpu = min(os.sched_getaffinity(0))
    one = plan.model_copy(
        update={"masks": [(cpu,)], "models": plan.models[:1], "threads": [1], "tests": plan.tests[:1]}
    )
    outcome = bench(llama_bench("sleep 1.5"), one)
    (run,) = outcome.measured
    assert run.mask_held is True
    seen = conditions(outcome.folder, run)
    assert seen
    assert seen.allowed_cpus == [[cpu]]


@pytest.mark.parametrize("model", ["手机", "", "../../x", "-rf"])
def test_a_phones_name_makes_a_plain_folder_name(bench: Bench, plan: Plan, tmp_path: Path, model: str) -> None:
    one = plan.model_copy(update={"models": plan.models[:1], "threads": [1], "tests": plan.tests[:1]})
    outcome = run_campaign(one, bench.target, phone(model=model), bench.binaries, tmp_path / "results")
    assert outcome.folder.parent == tmp_path / "results"
    assert outcome.folder.name[0].isalnum()


def test_what_was_measured_is_neither_run_nor_sent_again(bench: Bench) -> None:
    first = bench()
    second = bench()
    assert (second.folder, second.measured, second.failed, second.reused) == (first.folder, [], [], 8)
    assert (len(bench.target.measured()), len(bench.target.pushed)) == (8, 3)
    assert len(bench.runs()) == 8
    wiped = FolderPhone(Path(bench.target.root).with_name("wiped"))
    bench(target=wiped)
    assert wiped.pushed == []


def test_a_failed_cell_is_recorded_others_go_on_and_only_it_is_tried_again(bench: Bench) -> None:
    outcome = bench(TWO_THREADS_DIE)
    assert (len(outcome.measured), len(outcome.failed)) == (4, 4)
    for run in outcome.failed:
        assert (run.cell.threads, run.tokens_per_s, run.bench) == (2, [], None)
        assert "illegal instruction" in str(run.failure)
        assert "smoothdroid build --isa v8.0" in str(run.failure)
    again = bench()
    assert [options["-t"] for options in bench.target.measured()].count("1") == 4
    assert (len(again.measured), again.failed, again.reused) == (4, [], 4)
    assert len(bench.runs()) == 12, "what failed stays on record"
    assert bench().reused == 8


@pytest.fixture
def small(plan: Plan) -> Plan:
    """Two cells: 1 and 2 threads."""
    return plan.model_copy(update={"models": plan.models[:1], "tests": plan.tests[:1]})


@pytest.mark.parametrize(
    "changes",
    [
        {"n_threads": 3},
        {"n_prompt": 17},
        {"n_gen": 9},
        {"samples_ts": [1.0]},
        {"samples_ts": [1.0, 2.0, 0.0]},
        {"samples_ts": []},
        {"samples_ts": "fast"},
    ],
)
def test_a_measurement_of_something_else_is_a_failure_never_a_number(
    bench: Bench, small: Plan, changes: dict[str, Any]
) -> None:
    outcome = bench(llama_bench(**changes), small)
    assert outcome.measured == []
    assert len(outcome.failed) == 2
    for failed in outcome.failed:
        assert failed.failure
        assert (failed.tokens_per_s, failed.bench) == ([], None)


@pytest.mark.parametrize("says", ["", "echo main: no such model", "echo {}", 'echo {\\"build_commit\\": \\"fa'])
def test_no_record_is_a_failure(bench: Bench, small: Plan, says: str) -> None:
    outcome = bench(llama_bench(f"{says}; exit 0"), small)
    assert (len(outcome.measured), len(outcome.failed)) == (0, 2)


def test_two_records_are_not_one(bench: Bench, small: Plan) -> None:
    again = 'if [ -z "$AGAIN" ]; then AGAIN=1 sh "$0" -t $t -p $p -n $n -r $r; fi'
    outcome = bench(llama_bench(again), small)
    assert (len(outcome.measured), len(outcome.failed)) == (0, 2)


def test_a_cell_that_does_not_end_is_a_failure_and_others_go_on(
    bench: Bench, small: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smoothdroid.host.bench.deployment.CELL_TIMEOUT_S", 2)
    outcome = bench(llama_bench('[ "$t" = 2 ] && sleep 60'), small)
    assert (len(outcome.measured), len(outcome.failed)) == (1, 1)
    assert str(outcome.failed[0].failure).startswith("it was still running after 2 s and was ended. If it hangs,")


# --- how often ---------------------------------------------------------------------------------------------------


def test_rounds_are_processes_of_their_own(bench: Bench, small: Plan) -> None:
    plan = small.model_copy(update={"protocol": Protocol(repetitions=2, rounds=3)})
    outcome = bench(plan=plan)
    assert [(run.cell.threads, run.round) for run in outcome.measured] == [
        (cell.threads, number) for number in range(3) for cell in plan.turns(number)
    ]
    assert len({run.samples for run in outcome.measured}) == 6
    assert bench(plan=plan).reused == 2


def test_after_round_0_a_process_is_long_enough_to_be_sampled(bench: Bench, small: Plan) -> None:
    outcome = bench(plan=small.model_copy(update={"protocol": Protocol(repetitions=2, rounds=3)}))
    assert outcome.failed == []
    # The fake's repetitions take 1.46 s with one thread, 0.76 s with two.
    asked = [(int(options["-t"]), int(options["-r"])) for options in bench.target.measured()]
    assert sorted(asked[:2]) == [(1, 2), (2, 2)]
    assert sorted(asked[2:]) == [(1, 3)] * 2 + [(2, 4)] * 2
    assert [len(run.tokens_per_s) for run in outcome.measured] == [repetitions for _, repetitions in asked]


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_a_cell_that_lacks_processes_does_not_count_as_kept(bench: Bench, small: Plan, runs: int) -> None:
    plan = small.model_copy(update={"protocol": Protocol(repetitions=2, rounds=2)})
    with pytest.raises(Dies):
        run_campaign(plan, bench.target, PHONE, bench.binaries, bench.folder, dies_after(runs))
    outcome = bench(plan=plan)
    assert (outcome.reused, len(outcome.measured)) == (max(0, runs - 2), 4 - runs)
    assert len({(run.fingerprint, run.round) for run in bench.runs()}) == len(bench.target.measured()) == 4


def test_a_sustained_cell_does_not_count_as_kept_before_it_was_measured(bench: Bench, small: Plan) -> None:
    (test,) = small.tests
    sustained = test.model_copy(update={"sustained_s": 60})
    assert bench(plan=small.model_copy(update={"tests": [test, sustained], "threads": [1]})).reused == 0


def test_vague_cells_are_measured_until_their_interval_is_narrow(bench: Bench, small: Plan) -> None:
    # The fake's means: 11 with one thread, 11.5 after round 0; with two 21, then 22.
    plan = small.model_copy(update={"protocol": Protocol(repetitions=2, until=0.019)})
    outcome = bench(plan=plan)
    rounds = {threads: [run.round for run in outcome.measured if run.cell.threads == threads] for threads in (1, 2)}
    assert len(rounds[2]) > len(rounds[1]) > LEAST_PROCESSES
    for threads in (1, 2):
        means = [run.mean for run in outcome.measured if run.cell.threads == threads]
        assert interval(means).half <= 0.019 * interval(means).mean
        assert interval(means[:-1]).half > 0.019 * interval(means[:-1]).mean, "and no longer"


def test_a_sustained_cell_is_as_long_as_its_burst_says(bench: Bench, small: Plan) -> None:
    (test,) = small.tests
    plan = small.model_copy(update={"tests": [test, test.model_copy(update={"sustained_s": 60})], "threads": [1]})
    burst, lasting = bench(plan=plan).measured
    assert (burst.cell.test, lasting.cell.test) == tuple(plan.tests)
    # 60 s of 16 tokens each, at the best rate of the burst: 12.5.
    assert len(lasting.tokens_per_s) == 47


def test_settings_reach_llama_bench(bench: Bench, small: Plan) -> None:
    options = Options(depth=64, batch=32, ubatch=16, cache_k="q8_0", cache_v="q4_0", flash_attention="on", mmap="off")
    bench(plan=small.model_copy(update={"options": [options], "threads": [1]}))
    (asked,) = bench.target.measured()
    expected = {"-d": "64", "-b": "32", "-ub": "16", "-ctk": "q8_0", "-ctv": "q4_0", "-fa": "on", "-lm": "none"}
    assert {flag: asked[flag] for flag in expected} == expected


def test_a_real_prompt_tells_first_token_and_decode(bench: Bench, small: Plan, tmp_path: Path) -> None:
    tool = tmp_path / "built" / "llama-completion"
    tool.write_text(LLAMA_COMPLETION)
    bench.binaries = replace(bench.binaries, tools={**bench.binaries.tools, tool.name: (tool, sha256_of(tool))})
    prompt = "Say \"$(id)\" and\n`ls`; 'done'"
    plan = small.model_copy(update={"tests": [Test(prompt=prompt, n_gen=8)], "threads": [2]})
    outcome = bench(plan=plan)
    assert outcome.failed == []
    assert [run.round for run in outcome.measured] == [0, 1, 2]
    for run in outcome.measured:
        assert (run.tokens_per_s, run.first_token_s, run.bench) == ([200.0], 0.01, None)
        assert run.completion
    assert bench.target.pushed == ["llama-completion", "plain.gguf"], "llama-bench has nothing to do"


# --- this side goes, the other side goes on -------------------------------------------------------------------------


class Dies(Exception):
    """Stands for whatever ends this process in the middle of a campaign."""


def dies_after(runs: int) -> CampaignEvents:
    def count(run: Run) -> None:
        nonlocal runs
        if not (runs := runs - 1):
            raise Dies

    return CampaignEvents(on_run=count)


@pytest.mark.parametrize("runs", [1, 3, 7, 8])
def test_a_call_that_dies_keeps_what_was_measured_and_the_next_one_takes_up_the_rest(bench: Bench, runs: int) -> None:
    with pytest.raises(Dies):
        run_campaign(bench.plan, bench.target, PHONE, bench.binaries, bench.folder, dies_after(runs))
    assert len(bench.runs()) == runs
    outcome = bench()
    assert (len(outcome.measured), outcome.reused) == (8 - runs, runs)
    assert len({run.fingerprint for run in bench.runs()}) == len(bench.runs()) == 8
    assert len(bench.target.measured()) == 8, "each cell was measured once"
    assert Session(bench.target).jobs() == []


def test_what_failed_in_a_call_that_died_is_tried_again_once(bench: Bench) -> None:
    bench.play(TWO_THREADS_DIE)
    with pytest.raises(Dies):
        run_campaign(bench.plan, bench.target, PHONE, bench.binaries, bench.folder, dies_after(3))
    failed = [cell.threads for cell in list(bench.plan.turns(0))[:3]].count(2)
    assert failed
    outcome = bench(TWO_THREADS_DIE)
    assert (len(outcome.measured), len(outcome.failed), outcome.reused) == (4 - (3 - failed), 4, 3 - failed)
    assert len(bench.target.measured()) == 8 + failed


def test_a_process_killed_in_mid_cell_is_taken_up_and_every_cell_measured_once(bench: Bench, tmp_path: Path) -> None:
    bench.play(llama_bench("sleep 0.5"))
    child = os.fork()
    if not child:
        with suppress(BaseException):
            run_campaign(bench.plan, bench.target, PHONE, bench.binaries, bench.folder)
        os._exit(0)
    while len(bench.target.measured()) < 2:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    outcome = bench(llama_bench("sleep 0.5"))
    assert len(outcome.measured) + outcome.reused == 8
    assert len({run.fingerprint for run in bench.runs()}) == len(bench.runs()) == 8
    assert len(bench.target.measured()) == 8


def test_ctrl_c_ends_the_work_on_the_phone_and_the_next_call_goes_on(bench: Bench) -> None:
    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    bench.play(llama_bench("sleep 0.5"))
    with pytest.raises(KeyboardInterrupt):
        run_campaign(bench.plan, bench.target, PHONE, bench.binaries, bench.folder, CampaignEvents(on_run=interrupt))
    assert Session(bench.target).running_job() is None
    assert len(bench.target.measured()) < 8
    outcome = bench(llama_bench("sleep 0.5"))
    assert (len(outcome.measured), outcome.reused) == (7, 1)
    assert len({run.fingerprint for run in bench.runs()}) == len(bench.runs()) == 8


class Interrupted(FolderPhone):
    """A phone at whose n-th command Ctrl-C is pressed, once: before it is sent, after it was done, or so that it is
    done `late`, after the next one."""

    def __init__(self, root: Path, at: int, when: str) -> None:
        super().__init__(root)
        self.at, self.when, self.uses = at, when, 0
        self._late: Callable[[], object] | None = None

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        self.uses += 1
        do = partial(super().run, argv, **options)
        if self.uses == self.at:
            if self.when == "late":
                self._late = partial(super().run, argv, check=False)
            elif self.when == "after":
                do()
            raise KeyboardInterrupt
        done = do()
        if self._late:
            self._late()
            self._late = None
        return done


@pytest.mark.fault(
    "Ctrl-C at any moment of a campaign",
    transport="any",
    outcome="nothing is at work on the phone afterwards, and the next call measures the rest once",
)
@pytest.mark.parametrize("when", ["before", "after", "late"])
def test_ctrl_c_at_any_moment_leaves_nothing_at_work(bench: Bench, small: Plan, when: str) -> None:
    bench.play(llama_bench("sleep 0.3"))
    at, interrupted = {"before": 1, "after": 2, "late": 3}[when], True
    root = Path(bench.target.root)
    while interrupted:
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(bench.folder, ignore_errors=True)
        target = Interrupted(root, at, when)
        try:
            bench(llama_bench("sleep 0.3"), small, target)
            interrupted = False
        except KeyboardInterrupt:
            assert Session(bench.target).running_job() is None, at
            outcome = bench(llama_bench("sleep 0.3"), small)
            assert len(outcome.measured) + outcome.reused == 2
        assert len({run.fingerprint for run in bench.runs()}) == len(bench.runs()) == 2
        assert Session(bench.target).jobs() == []
        at += 7
    assert at > 30


@pytest.mark.fault(
    "Ctrl-C while the connection to a phone that measures is lost",
    transport="any",
    outcome="the phone is waited for a short time, and its work is ended",
)
@pytest.mark.parametrize("verb", ["start", "watch", "remove"])
def test_ctrl_c_while_the_phone_is_lost_ends_the_work_there(bench: Bench, small: Plan, verb: str) -> None:
    """It is lost after it did what was asked, and Ctrl-C is pressed while it is waited for."""

    class Lost(FolderPhone):
        lost = False

        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            if not self.lost:
                done = super().run(argv, **options)
                self.lost = verb in argv[2:3]
            if self.lost:
                raise TargetLost("cut")
            return done

    ways: list[Any] = [KeyboardInterrupt(), TargetLost("not yet"), FolderPhone(Path(bench.target.root))]

    def reopen() -> Target:
        if isinstance(way := ways.pop(0), BaseException):
            raise way
        return cast("Target", way)

    bench.play(llama_bench("sleep 5"))
    lost = Lost(Path(bench.target.root))
    if verb == "remove":
        bench.play(LLAMA_BENCH)
    with pytest.raises(KeyboardInterrupt):
        run_campaign(small, lost, PHONE, bench.binaries, bench.folder, reopen=reopen)
    assert ways == []
    assert Session(bench.target).running_job() is None


def test_ctrl_c_of_a_phone_that_stays_away_says_that_its_work_may_go_on(bench: Bench, small: Plan) -> None:
    class Lost(FolderPhone):
        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            if argv[2:3] == ["watch"]:
                raise KeyboardInterrupt
            if argv[2:3] == ["stop"]:
                raise TargetLost("cut")
            return super().run(argv, **options)

    bench.play(llama_bench("sleep 60"))
    warned: list[str] = []
    watch = CampaignEvents(on_warning=warned.append)
    with pytest.raises(KeyboardInterrupt):
        run_campaign(small, Lost(Path(bench.target.root)), PHONE, bench.binaries, bench.folder, watch)
    assert "may still run on the phone" in warned[0]
    job = Session(bench.target).running_job()
    assert job
    Session(bench.target).stop(job)


# --- what the phone kept is damaged -----------------------------------------------------------------------------


class Left:
    """A job that lies finished on a phone, three cells, one of them recorded here: as often as it is put back."""

    def __init__(self, bench: Bench, plan: Plan, tmp_path: Path) -> None:
        self.bench, self.plan = bench, plan.model_copy(update={"threads": [1, 2, 3]})
        with pytest.raises(Dies):
            run_campaign(self.plan, bench.target, PHONE, bench.binaries, bench.folder, dies_after(1))
        while Session(bench.target).running_job():
            time.sleep(0.05)
        (self.job,) = Session(bench.target).jobs()
        self.path = Path(bench.target.root, "jobs", self.job)
        self._copies = [(folder, tmp_path / f"{folder.name}.copy") for folder in (self.path, bench.folder)]
        for folder, copy in self._copies:
            shutil.copytree(folder, copy)

    def put_back(self) -> None:
        for folder, copy in self._copies:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(copy, folder)
        for log in Path(self.bench.target.root).glob("store/*/asked"):
            log.unlink()

    def collect(self) -> tuple[list[int], list[str]]:
        """Call again, and look whether all is right; returns the threads that were asked for, and the warnings."""
        warned: list[str] = []
        target, folder = self.bench.target, self.bench.folder
        run_campaign(self.plan, target, PHONE, self.bench.binaries, folder, CampaignEvents(on_warning=warned.append))
        runs = self.bench.runs()
        assert sorted(run.cell.threads for run in runs) == [1, 2, 3]
        for run in runs:
            assert (run.failure, run.tokens_per_s) == (
                None,
                [10 * run.cell.threads + number + 0.5 for number in (0, 2, 1)],
            )
        assert Session(target).jobs() == []
        assert not list(Path(target.root, "jobs").iterdir())
        return sorted(int(options["-t"]) for options in target.measured()), warned


@pytest.fixture
def left(bench: Bench, small: Plan, tmp_path: Path) -> Left:
    return Left(bench, small, tmp_path)


@pytest.mark.fault(
    "one flipped bit in any file of a job",
    transport="any",
    outcome="intact cells are collected with their values, the damaged one is measured again, and later jobs run",
)
def test_one_flipped_bit_anywhere_costs_its_cell_and_nothing_else(left: Left) -> None:
    chance = random.Random(15)  # noqa: S311 (not a secret)
    files = sorted(file for file in left.path.iterdir() if file.name != "log" and file.stat().st_size)
    assert {"journal", "cells", "commands.sh", "limits", "sum"} < {file.name for file in files}
    for file in files:
        for _ in range(12 if file.name == "journal" else 2):
            left.put_back()
            data = bytearray(file.read_bytes())
            place, bit = chance.randrange(len(data)), chance.randrange(8)
            data[place] ^= 1 << bit
            file.write_bytes(data)
            asked, warned = left.collect()
            where = file.name, place, bit, asked, warned
            assert len(asked) <= 1, where
            assert warned or not asked, where
            assert all(left.job in text for text in warned), where


DAMAGE = {
    "no cells": "rm cells",
    "no commands": "rm commands.sh",
    "no journal": "rm journal",
    "an empty journal": ": >journal",
    "a journal of zeros": "head -c 4096 /dev/zero >journal",
    "zeros after the journal": "head -c 4096 /dev/zero >>journal",
    "a journal of something else": "head -c 4096 /bin/sh >journal",
    "a huge journal": "truncate -s 64M journal",
    "a journal that is a folder": "rm journal; mkdir journal",
    "no outputs": "rm *.stdout *.stderr",
    "empty samples": "for file in *.samples; do : >$file; done",
    "a huge output": "for file in *.stdout; do truncate -s 128M $file; done",
    "nothing but a folder": "rm *",
    "all files empty": "for file in *; do : >$file; done",
}


@pytest.mark.fault(
    "files of a job on the phone are lost, empty or filled with other bytes",
    transport="any",
    outcome="the campaign says which, measures again what is lost with them, and removes the job",
)
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_job_does_not_stop_a_campaign(left: Left, name: str) -> None:
    left.put_back()
    left.bench.target.run(["sh", "-c", f"cd {left.path}; {DAMAGE[name]}"])
    asked, warned = left.collect()
    intact = ("no cells", "no commands", "zeros after the journal")
    assert bool(asked) == (name not in intact)
    assert warned or name in ("no cells", "no commands"), "what was finished needs them no more"
    assert len(set(warned)) == len(warned)


@pytest.mark.fault(
    "a job of version 0.1, whose journal has no checksums, lies on the phone",
    transport="any",
    outcome="what it measured is collected",
)
def test_a_job_of_version_0_1_is_collected(left: Left) -> None:
    left.put_back()
    without = r"s/ #[0-9a-f]\{16\} \.$/ ./; s/^\(begin .*\) - \.$/\1 ./"
    left.bench.target.run(["sh", "-c", f"cd {left.path}; rm sum; sed -i '{without}' journal"])
    assert "begin" in (left.path / "journal").read_text()
    assert "#" not in (left.path / "journal").read_text()
    assert left.collect() == ([], [])


@pytest.mark.fault(
    "no runner can be started on a job that an earlier call left",
    transport="any",
    outcome="what had ended is collected, the reason is shown, and the rest is measured in another job",
)
def test_a_job_on_which_no_runner_starts_is_collected_and_its_rest_measured_anew(left: Left) -> None:
    left.put_back()
    damage = "sed -i '/^finished/d' journal; rm log; mkdir log"
    left.bench.target.run(["sh", "-c", f"cd {left.path}; {damage}"])
    asked, warned = left.collect()
    assert asked == []
    assert len(warned) == 1
    assert f"{left.job} cannot be continued" in warned[0]
    assert "the runner did not start" in warned[0]


def test_a_cell_of_another_campaign_is_left_out_and_the_campaign_goes_on(left: Left) -> None:
    left.put_back()
    other = left.job[:-6] + "abcdef"
    Session(left.bench.target).start(other, [Task("0123-0", ["echo", "1"], 60), Task("x", ["echo", "1"], 60)])
    asked, warned = left.collect()
    assert asked == []
    assert [text.partition(",")[0] for text in warned] == [f"{other} has a cell {name}" for name in ("0123-0", "x")]


class Rotten(FolderPhone):
    """A phone that never brings back what llama-bench said with two threads."""

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        super().pull(remote, destination, progress=progress)
        if '"n_threads": 2' in destination.read_text():
            destination.write_text("rot")


@pytest.mark.fault(
    "the phone's storage damages the output of a cell each time",
    transport="any",
    outcome="after three tries all else is measured, and an error says what is not",
)
def test_a_cell_that_is_damaged_each_time_is_given_up_and_said_and_the_others_are_measured(
    bench: Bench, small: Plan
) -> None:
    plan = small.model_copy(update={"protocol": Protocol(repetitions=3, rounds=2)})
    with pytest.raises(
        Damaged, match=r"lost or damaged the output of 1 of 2 cells 3 times.*run the same command again"
    ):
        bench(plan=plan, target=Rotten(Path(bench.target.root)))
    assert [run.cell.threads for run in bench.runs()] == [1, 1]
    asked = [options["-t"] for options in bench.target.measured()]
    assert asked.count("1") == 2
    assert asked.count("2") in (3, 6), "in three jobs, of one round or of both"
    assert Session(bench.target).jobs() == []
    outcome = bench(plan=plan)
    assert [run.cell.threads for run in outcome.measured] == [2, 2]


def test_a_phone_that_measures_something_else_is_left_alone(bench: Bench, small: Plan) -> None:
    other = Session(bench.target)
    other.start("other", [Task("one", ["sleep", "60"], 90)])
    try:
        with pytest.raises(PhoneBusy, match="running another job, other"):
            bench(plan=small)
        assert bench.target.pushed == []
    finally:
        other.stop("other")


def test_a_folder_that_another_process_writes_is_left_alone(bench: Bench) -> None:
    folder = bench().folder
    with alone(folder), pytest.raises(BadInput, match=f"{folder}: another smoothdroid is using this folder"):
        bench()


def test_another_results_folder_does_not_take_a_job_off_the_phone(bench: Bench, small: Plan, tmp_path: Path) -> None:
    with pytest.raises(Dies):
        run_campaign(small, bench.target, PHONE, bench.binaries, bench.folder, dies_after(1))
    while Session(bench.target).running_job():
        time.sleep(0.05)
    elsewhere = run_campaign(small, bench.target, PHONE, bench.binaries, tmp_path / "elsewhere")
    assert len(elsewhere.measured) == 2
    assert (len(bench(plan=small).measured), len(bench.target.measured())) == (1, 4)


def test_a_model_that_changed_under_its_name_is_another_campaign(bench: Bench, models: list[Artifact]) -> None:
    first = bench()
    changed = inspect(write_gguf(models[1].path, fill=3))
    assert (changed.name, changed.sha256) != (models[1].name, models[1].sha256)
    plan = make([models[0], changed], SMALL, PHONE)
    second = bench(plan=plan)
    assert second.folder != first.folder
    assert len(second.measured) == 8
    assert bench.target.pushed[3:] == ["smooth.gguf"]
    assert len(read_runs(first.folder)) == 8


@pytest.mark.parametrize("name", ["ssh://user@phone:8022", "local:"])
def test_another_way_to_the_same_phone_is_another_campaign(bench: Bench, small: Plan, name: str) -> None:
    first = bench(plan=small)
    second = bench(plan=small, target=FolderPhone(Path(bench.target.root), name))
    assert second.folder != first.folder
    assert len(second.measured) == 2


@pytest.mark.fault(
    "a line of runs.jsonl is damaged on the workstation's disk",
    transport="workstation",
    outcome="`bench` keeps it in damaged-runs.jsonl and measures its cell again; the others are kept",
)
@pytest.mark.parametrize("damage", [b"nonsense", b"\0" * 300, b'{"schema_version": 3}'])
def test_a_damaged_line_is_set_aside_and_its_cell_measured_again(bench: Bench, small: Plan, damage: bytes) -> None:
    first = bench(plan=small)
    record = first.folder / RUNS
    lines = record.read_bytes().split(b"\n")
    record.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]))
    second = bench(plan=small)
    assert (len(second.measured), second.failed) == (1, [])
    assert (first.folder / "damaged-runs.jsonl").read_bytes() == damage + b"\n"
    assert len(read_runs(first.folder)) == len(lines) - 1
    assert [f"{record}, line 2 was damaged" in warning for warning in bench.warnings] == [True]
    assert bench(plan=small).measured == []


@pytest.mark.fault(
    "the samples of a run are damaged on the workstation's disk",
    transport="workstation",
    outcome="the campaign goes on; the run counts as not sampled, and tables and reports name the file",
)
def test_damaged_samples_stop_no_campaign(bench: Bench, small: Plan) -> None:
    plan = small.model_copy(update={"protocol": Protocol(repetitions=2, until=0.5)})
    first = bench(plan=plan)
    for run in first.measured:
        (first.folder / run.samples).write_text("nonsense")
    again = bench(plan=plan)
    assert (again.measured, again.failed) == ([], [])
    assert finished(first.folder) == set(plan.cells())


@pytest.mark.fault(
    "campaign.json is damaged on the workstation's disk",
    transport="workstation",
    outcome="`bench` keeps it as damaged-campaign.json and writes it anew; no run is lost",
)
def test_a_damaged_campaign_is_written_anew(bench: Bench, small: Plan) -> None:
    first = bench(plan=small)
    (first.folder / CAMPAIGN).write_text("nonsense")
    second = bench(plan=small)
    assert (second.measured, second.reused) == ([], first.reused + len({run.fingerprint for run in first.measured}))
    assert (first.folder / "damaged-campaign.json").read_text() == "nonsense"
    assert read_campaign(first.folder).plan == small


@pytest.mark.parametrize("name", [CAMPAIGN, RUNS])
def test_a_newer_version_s_record_is_left_alone_and_the_phone_untouched(bench: Bench, small: Plan, name: str) -> None:
    first = bench(plan=small)
    newer = b'{"schema_version": 99}\n'
    (first.folder / name).write_bytes(newer)
    untouched = FolderPhone(Path(bench.target.root).with_name("untouched"))
    with pytest.raises(BadInput, match="a newer smoothdroid"):
        bench(plan=small, target=untouched)
    assert (first.folder / name).read_bytes() == newer
    assert not Path(untouched.root).exists()
