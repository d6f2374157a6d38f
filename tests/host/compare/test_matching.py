from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.job.task import Cooling
from smoothdroid.host.compare.by import parse
from smoothdroid.host.compare.comparison import ComparedResults, Pair
from smoothdroid.host.compare.matching import as_facts, load, within
from smoothdroid.host.compare.tables import notes
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.report.data.rows import NOT_A_SPEED
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import RUNS, SAMPLES, Campaign, append, read_runs
from smoothdroid.host.results.statistics import compare, compare_paired
from tests.host.fakes import campaign, model, phone, run_of, write_results

PP, TG = Test(n_prompt=512, n_gen=0), Test(n_prompt=0, n_gen=128)
PLAN = Plan(
    models=[model("plain"), model("smooth")],
    threads=[1, 2],
    tests=[PP, TG],
    protocol=Protocol(repetitions=2, rounds=3),
)
FAST, SLOW, NOISY = (10.0, 10.1, 9.9), (9.0, 9.1, 8.9), (9.0, 11.5, 10.0)
PLAIN_PP = ("plain", "pp512", 1)
Key = tuple[str, str, int]
Rates = Mapping[Key, Sequence[float] | str]


def key_of(cell: Cell) -> Key:
    return cell.model, cell.test.name, cell.threads


def results(
    folder: Path, rates: Rates, plan: Plan = PLAN, on: Phone | None = None, transport: str = "adb", **changes: Any
) -> Path:
    """Results in `folder`: for some cells of `plan` a rate for each round, or why they failed; FAST for all others."""
    known = campaign(plan, on or phone(), transport).model_copy(update=changes)
    runs = []
    for cell in plan.cells():
        came = rates.get(key_of(cell), FAST)
        if isinstance(came, str):
            runs.append(run_of(known, cell, failure=came))
        else:
            runs += [
                run_of(known, cell, [rate, rate]).model_copy(update={"round": number})
                for number, rate in enumerate(came)
            ]
    return write_results(folder, known, runs)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return results(tmp_path / "before", {})


def pair_of(compared: ComparedResults, cell: Key) -> Pair:
    (pair,) = (p for p in compared.pairs if key_of(p.a.cell) == cell)
    return pair


def by(folder: Path, text: str, threshold: float = 0.05) -> ComparedResults:
    return within(folder, *parse(text), threshold)


def test_every_cell_has_its_answer(before: Path, tmp_path: Path) -> None:
    after: Rates = {PLAIN_PP: SLOW, ("smooth", "tg128", 2): (20.0, 20.1, 19.9), ("plain", "tg128", 1): NOISY}
    compared = load(before, results(tmp_path / "after", after), 0.05)
    assert len(compared.pairs) == 8
    answers = {key: pair_of(compared, key).difference.answer for key in after}
    assert list(answers.values()) == ["slower", "faster", "not significant"]
    unchanged = [pair for pair in compared.pairs if pair.difference.comparison.ratio.mean == 1]
    assert len(unchanged) == 5
    assert {pair.difference.answer for pair in unchanged} == {"not significant"}
    slower = pair_of(compared, PLAIN_PP)
    assert slower.difference.comparison == compare(FAST, SLOW)
    assert slower.difference.p_value == pytest.approx(7 * slower.difference.comparison.p_value)  # the second of 8
    assert compared.regressions == [slower]
    assert (compared.only_a, compared.only_b, compared.changes, compared.caveat) == ([], [], [], "")
    assert (compared.a, compared.b, compared.by) == (str(before), str(tmp_path / "after"), None)


def test_repetitions_of_one_process_answer_nothing(before: Path, tmp_path: Path) -> None:
    """Five repetitions that agree within 1 % say nothing of the next process: it may be 3 % away."""
    known = campaign(PLAN, phone())
    cells = list(PLAN.cells())
    sides = [
        write_results(tmp_path / name, known, [run_of(known, cell, [r, r * 1.01, r * 0.99] * 2) for cell in cells])
        for name, r in (("a", 10.0), ("b", 5.0))
    ]
    for a, b in (sides, [before, sides[1]], [sides[0], before]):
        compared = load(a, b, 0.05)
        assert {pair.difference.answer for pair in compared.pairs} == {"not significant"}
        assert {pair.remark.partition(";")[0] for pair in compared.pairs} == {"one process: measure with --rounds 5"}
        assert not compared.regressions


def test_a_sustained_test_is_one_process_whatever_the_rounds(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"tests": [TG.model_copy(update={"sustained_s": 600})]})
    a, b = (results(tmp_path / name, dict.fromkeys(map(key_of, plan.cells()), (9.0,)), plan) for name in "ab")
    remark = load(a, b, 0.05).pairs[0].remark
    assert remark.startswith("one process: a sustained test has no more")
    assert "--rounds" not in remark


def test_cells_of_one_folder_only_are_named_with_the_reason(tmp_path: Path) -> None:
    a = results(tmp_path / "a", {("plain", "pp512", 2): "illegal instruction"})
    plan = PLAN.model_copy(update={"threads": [2, 4], "models": [model("plain")], "tests": [PP]})
    b = results(tmp_path / "b", {("plain", "pp512", 4): FAST}, plan)
    with pytest.raises(
        BadInput,
        match=r"no cell was measured in both; A has plain pp512, 1 thread.*B has plain pp512.*differ in threads",
    ):
        load(a, b, 0.05)
    c = results(tmp_path / "c", {}, PLAN.model_copy(update={"tests": [PP]}))
    compared = load(a, c, 0.05)
    assert len(compared.pairs) == 3
    assert compared.only_b == ["plain pp512, 2 threads, Google Pixel 8 over adb: failed: illegal instruction"]
    assert len(compared.only_a) == 4
    assert compared.only_a[0] == "plain tg128, 1 thread, Google Pixel 8 over adb: not in the plan"


def test_the_name_of_a_cell_has_its_cpus_and_settings(tmp_path: Path) -> None:
    masked: dict[str, Any] = {"masks": [(0, 1, 2, 3)], "options": [Options(depth=64, mmap="off")]}
    a = results(tmp_path / "a" / "1", {})
    known = campaign(PLAN.model_copy(update=masked), phone())
    folder = write_results(tmp_path / "a" / "2", known, [])
    cell = next(known.plan.cells())
    append(folder, run_of(known, cell, FAST), read_back(cell.cpus))
    assert load(tmp_path / "a", a, 0.05).only_a == [
        "plain pp512, 1 thread on CPUs little, depth 64, mmap off, Google Pixel 8 over adb: not in the plan"
    ]


def test_a_cell_that_failed_in_both_is_in_neither(tmp_path: Path) -> None:
    a, b = (results(tmp_path / name, {PLAIN_PP: "killed"}) for name in ("a", "b"))
    compared = load(a, b, 0.05)
    assert (len(compared.pairs), compared.only_a, compared.only_b) == (7, [], [])


def test_another_model_file_and_drift_are_remarked(before: Path, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"models": [model("plain", sha256="f" * 64), model("smooth")]})
    after = results(tmp_path / "after", {("smooth", "tg128", 1): NOISY}, plan)
    compared = load(before, after, 0.05)
    assert pair_of(compared, PLAIN_PP).remark == "another file of that name"
    assert pair_of(compared, ("smooth", "tg128", 1)).remark.startswith("B: the 95% interval over 3 processes is ±")
    assert pair_of(compared, ("smooth", "pp512", 1)).remark == ""


def test_what_else_changed_is_named(before: Path, tmp_path: Path) -> None:
    after = results(tmp_path / "after", {}, on=phone(android="17"), build_id="fedcba9876543210", build_isa="v8.0")
    assert load(before, after, 0.05).changes == [
        "build: 01234567 (i8mm, llama.cpp 0c1e57098) in A, fedcba98 (v8.0, llama.cpp 0c1e57098) in B",
        "Android: 16 in A, 17 in B",
    ]


def test_phones_and_transports_are_compared_each_with_itself(tmp_path: Path) -> None:
    other = phone(id="feedfeedfeed", model="Other")
    for name, rates in (("a", FAST), ("b", SLOW)):
        results(tmp_path / name / "1", {PLAIN_PP: rates})
        results(tmp_path / name / "2", {PLAIN_PP: rates}, transport="ssh")
    results(tmp_path / "b" / "3", {}, on=other)
    compared = load(tmp_path / "a", tmp_path / "b", 0.05)
    assert len(compared.pairs) == 16
    assert [(pair.a.campaign.transport, pair.b.campaign.transport) for pair in compared.regressions] == [
        ("adb", "adb"),
        ("ssh", "ssh"),
    ]
    assert len(compared.only_b) == 8
    assert compared.only_b[0] == "plain pp512, 1 thread, Other over adb: not in the plan"


def test_other_phones_are_refused(before: Path, tmp_path: Path) -> None:
    after = results(tmp_path / "after", {}, on=phone(id="feedfeedfeed", model="Other"))
    with pytest.raises(
        BadInput, match="A was measured on Google Pixel 8, B on Other: compare needs results of the same phone"
    ):
        load(before, after, 0.05)


def test_another_transport_is_refused(before: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="A was measured over adb, B over ssh"):
        load(before, results(tmp_path / "after", {}, transport="ssh"), 0.05)


def test_another_cooling_is_another_question(before: Path, tmp_path: Path) -> None:
    cooled = PLAN.protocol.model_copy(update={"cooling": Cooling(celsius=40), "rounds": 5})
    with pytest.raises(BadInput, match=r"these differ in cooling$"):
        load(before, results(tmp_path / "after", {}, PLAN.model_copy(update={"protocol": cooled})), 0.05)


def test_a_folder_in_which_all_failed_is_refused(before: Path, tmp_path: Path) -> None:
    failed: Rates = {key_of(cell): "killed" for cell in PLAN.cells()}
    with pytest.raises(BadInput, match="B has no measured cell"):
        load(before, results(tmp_path / "after", failed), 0.05)
    with pytest.raises(BadInput, match="A has no measured cell"):
        load(tmp_path / "after", before, 0.05)
    with pytest.raises(BadInput, match="holds no results"):
        load(tmp_path / "nowhere", before, 0.05)


def test_the_same_cell_of_two_campaigns_counts_once_with_all_its_processes(before: Path, tmp_path: Path) -> None:
    results(tmp_path / "b" / "1", {PLAIN_PP: SLOW})
    wider = PLAN.model_copy(update={"threads": [1, 2, 4]})
    results(tmp_path / "b" / "2", {PLAIN_PP: (9.2, 8.8), ("smooth", "pp512", 1): "killed"}, wider)
    compared = load(before, tmp_path / "b", 0.05)
    assert len(compared.pairs) == 8
    assert pair_of(compared, PLAIN_PP).difference.b == [*SLOW, 9.2, 8.8]
    assert pair_of(compared, ("smooth", "pp512", 1)).difference.b == list(FAST)
    assert len(compared.only_b) == 4  # with four threads


def test_the_same_question_answered_by_two_builds_is_refused(before: Path, tmp_path: Path) -> None:
    results(tmp_path / "b" / "1", {})
    results(tmp_path / "b" / "2", {}, build_id="fedcba9876543210")
    with pytest.raises(BadInput, match=r"plain pp512, 1 thread.*with different builds.*name one"):
        load(before, tmp_path / "b", 0.05)


@pytest.mark.fault(
    "a rate of zero or less in the record of a campaign",
    transport="workstation",
    outcome="`compare` ends with an error that names the file and the cell, and computes nothing",
)
@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_rate_that_is_none_is_damage(before: Path, tmp_path: Path, bad: float) -> None:
    with pytest.raises(BadInput, match=r"runs.jsonl is damaged: plain pp512, 1 thread"):
        load(before, results(tmp_path / "after", {PLAIN_PP: (10.0, bad)}), 0.05)


@pytest.mark.fault(
    "a line of runs.jsonl or a run's samples are damaged in one of two folders that are compared",
    transport="workstation",
    outcome="`compare` names them and leaves them out; the other cells are compared",
)
def test_damage_is_named_and_left_out(before: Path, tmp_path: Path) -> None:
    after = results(tmp_path / "after", {})
    record = after / RUNS
    lines = record.read_bytes().split(b"\n")
    record.write_bytes(b"\n".join([b"nonsense", *lines[1:]]))
    sampled = read_runs(after, [])[0]
    (after / SAMPLES).mkdir(exist_ok=True)
    (after / sampled.samples).write_text("nonsense")
    compared = load(before, after, 0.05)
    assert compared.pairs
    assert [f"{record}, line 1 is damaged" in compared.damage[0], len(compared.damage)] == [True, 2]
    assert f"left out: {compared.damage[0]}" in notes(compared)
    assert as_facts(compared)["damage"] == compared.damage


def test_a_cell_measured_again_after_it_failed_is_measured(before: Path, tmp_path: Path) -> None:
    after = results(tmp_path / "after", {PLAIN_PP: "killed"})
    assert len(load(before, after, 0.05).pairs) == 7
    known: Campaign = campaign(PLAN, phone())
    append(after, run_of(known, next(iter(PLAN.cells())), SLOW))
    assert pair_of(load(before, after, 0.05), PLAIN_PP).difference.b == [pytest.approx(9.0)]


def test_two_models_of_a_campaign_are_compared_by_round(tmp_path: Path) -> None:
    """Rounds differ by a fifth, the two models of a round by a tenth."""
    rounds = (10.0, 11.0, 9.0)
    slower = tuple(share * rate for rate, share in zip(rounds, (0.9, 0.899, 0.901), strict=True))
    rates = {key_of(cell): slower if cell.model == "smooth" else rounds for cell in PLAN.cells()}
    compared = by(results(tmp_path / "results", rates), "model=pla,smo")
    assert [key_of(pair.a.cell) for pair in compared.pairs] == [key_of(c) for c in PLAN.cells() if c.model == "plain"]
    for pair in compared.pairs:
        assert (pair.a.cell.model, pair.b.cell.model) == ("plain", "smooth")
        assert pair.a.cell == pair.b.cell.model_copy(
            update={"model": "plain", "model_sha256": pair.a.cell.model_sha256}
        )
        assert pair.difference.paired
        assert pair.difference.n == 3
        assert pair.difference.comparison == compare_paired(rounds, slower)
        assert pair.remark.count("95% interval over 3 processes") == 2
    assert compared.regressions == compared.pairs
    assert compared.changes == []
    assert (compared.a, compared.b) == (f"model plain, in {tmp_path}/results", f"model smooth, in {tmp_path}/results")
    backwards = by(tmp_path / "results", "model=smooth,plain")
    assert {pair.difference.answer for pair in backwards.pairs} == {"faster"}
    assert not backwards.regressions


def read_back(cpus: Sequence[int]) -> str:
    """Samples in which a thread may run on `cpus`, as a runner writes them."""
    return f"column\ttime\nsample\t0\n/proc/1/task/2/status:Cpus_allowed_list:\t{cpu_masks.listed(cpus)}\n"


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("threads=1,2", {"threads": 2}),
        ("cpus=any,little", {"cpus": (0, 1, 2, 3)}),
        ("cpus=any,0-3", {"cpus": (0, 1, 2, 3)}),
        ("flash-attention=default,on", {"options": Options(flash_attention="on")}),
        ("test=pp512,tg128", {"test": TG}),
    ],
)
def test_any_one_setting_is_compared_all_else_equal(tmp_path: Path, text: str, changed: dict[str, Any]) -> None:
    settings = {"masks": [(), (0, 1, 2, 3)], "options": [Options(), Options(flash_attention="on")]}
    plan = PLAN.model_copy(update=settings)
    known = campaign(plan, phone())
    folder = write_results(tmp_path / "results", known, [])
    for number in range(3):
        for cell in plan.turns(number):
            run = run_of(known, cell, [FAST[number]] * 2).model_copy(update={"round": number})
            append(folder, run, read_back(cell.cpus) if cell.cpus else "")
    compared = by(folder, text)
    assert len(compared.pairs) == 16
    for pair in compared.pairs:
        assert pair.b.cell == pair.a.cell.model_copy(update=changed)
        assert pair.difference.comparison == compare_paired(FAST, FAST)
        assert (pair.difference.paired, pair.difference.n) == (True, 3)
    assert (compared.only_a, compared.only_b) == ([], [])


@pytest.fixture
def one_masked(tmp_path: Path) -> Path:
    """A campaign on CPUs 0 to 3 in which round 2 of one model ran on others, so that this process does not count."""
    plan = PLAN.model_copy(update={"masks": [(0, 1, 2, 3)], "tests": [PP], "threads": [1]})
    known = campaign(plan, phone())
    folder = write_results(tmp_path / "results", known, [])
    for cell in plan.cells():
        for number, rate in enumerate(FAST):
            wrong = cell.model == "smooth" and number == 1
            run = run_of(known, cell, [rate] * 2).model_copy(update={"round": number})
            append(folder, run, read_back([8] if wrong else cell.cpus))
    return folder


@pytest.mark.fault(
    "one process of two models that took turns is invalid",
    transport="any",
    outcome="`compare` drops its round from the pairs, and says how many pairs are left",
)
def test_a_rejected_process_drops_its_round(one_masked: Path) -> None:
    (pair,) = by(one_masked, "model=plain,smooth").pairs
    assert (pair.difference.paired, pair.difference.n, pair.difference.left_out) == (True, 2, 1)
    assert pair.difference.a == pair.difference.b == [FAST[0], FAST[2]]
    assert "left out: 1 process without a counterpart in its round" in pair.remark
    assert "B: round 2 does not count: CPUs 0-3 were asked for" in pair.remark


def test_a_build_is_another_campaign_so_its_cells_are_not_paired(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    results(folder / "1", {})
    results(folder / "2", {PLAIN_PP: SLOW}, build_id="fedcba9876543210", build_isa="v8.0")
    compared = by(folder, "build=01234567,fedc")
    assert len(compared.pairs) == 8
    assert not any(pair.difference.paired or pair.difference.one_campaign for pair in compared.pairs)
    assert pair_of(compared, PLAIN_PP).difference.comparison == compare(FAST, SLOW)
    assert compared.regressions == [pair_of(compared, PLAIN_PP)]
    assert compared.changes == []  # but the build, which was asked about
    assert compared.b == f"build fedcba9876543210 (v8.0, llama.cpp 0c1e57098), in {folder}"
    with pytest.raises(BadInput, match=r"no cell has build `v8.2`.*v8\.0"):
        by(folder, "build=i8mm,v8.2")


def test_what_another_build_or_file_measured_is_no_counterpart(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    (one, two) = (PLAN.model_copy(update={"threads": [threads]}) for threads in (1, 2))
    results(folder / "1", {}, one)
    results(folder / "2", {}, two, build_id="fedcba9876543210")
    with pytest.raises(BadInput, match=r"no cell was measured in both.*these differ in build$"):
        by(folder, "threads=1,2")
    other_file = two.model_copy(update={"models": [model("plain", sha256="f" * 64)]})
    results(tmp_path / "other" / "1", {}, one)
    results(tmp_path / "other" / "2", {}, other_file)
    with pytest.raises(BadInput, match=r"these differ in model file$"):
        by(tmp_path / "other", "threads=1,2")


def test_sides_of_two_campaigns_are_not_paired_those_of_one_are(tmp_path: Path) -> None:
    """The second campaign has one model more; the cells of four threads are in it alone."""
    folder = tmp_path / "results"
    results(folder / "1", {}, PLAN.model_copy(update={"models": [model("plain")]}))
    results(folder / "2", {}, PLAN.model_copy(update={"models": [model("smooth")], "threads": [1]}))
    results(folder / "3", {}, PLAN.model_copy(update={"threads": [4], "models": [model("plain"), model("smooth")]}))
    compared = by(folder, "model=plain,smooth")
    assert [(pair.a.cell.threads, pair.difference.paired) for pair in compared.pairs] == [
        (1, False),
        (1, False),
        (4, True),
        (4, True),
    ]
    assert compared.only_a == [
        f"plain {test}, 2 threads, Google Pixel 8 over adb: not in the plan" for test in ("pp512", "tg128")
    ]


def test_facts_are_strict_json(before: Path, tmp_path: Path) -> None:
    rates: Rates = {PLAIN_PP: SLOW, ("smooth", "pp512", 1): (9.0,)}
    after = results(tmp_path / "after", rates, on=phone(emulated=True))
    facts = json.loads(json.dumps(as_facts(load(before, after, 0.05)), allow_nan=False))
    assert (facts["threshold"], facts["regressions"], facts["caveat"]) == (0.05, 1, NOT_A_SPEED)
    assert (facts["a"], facts["b"], facts["by"]) == (str(before), str(after), None)
    cells = {(cell["model"], cell["test"], cell["threads"]): cell for cell in facts["cells"]}
    slower, single = cells[PLAIN_PP], cells["smooth", "pp512", 1]
    expected = {
        "phone": "Google Pixel 8",
        "transport": "adb",
        "cpus": "any",
        "options": {},
        "processes": {"a": 3, "b": 3},
        "paired": False,
        "a": pytest.approx(10.0),
        "b": pytest.approx(9.0),
        "ratio": pytest.approx(0.9, abs=1e-4),
        "answer": "slower",
        "regression": True,
        "remark": "",
    }
    assert {name: slower[name] for name in expected} == expected
    assert slower["low"] < slower["ratio"] < slower["high"] < 1
    assert slower["p_value"] < slower["p_value_adjusted"] < 0.05
    assert single["processes"] == {"a": 3, "b": 1}
    assert {single[name] for name in ("low", "high", "p_value", "p_value_adjusted")} == {None}
    assert (single["answer"], single["regression"]) == ("not significant", False)
    assert single["remark"].startswith("one process: measure with --rounds 5")


@pytest.mark.parametrize(
    ("text", "field", "cell"),
    [
        ("model=plain,smooth", "model", {"model": None, "options": {"depth": 64, "mmap": "on"}}),
        ("mmap=on,off", "mmap", {"model": "plain", "options": {"depth": 64}}),
    ],
)
def test_facts_have_the_setting_that_differs_beside_the_cells(
    tmp_path: Path, text: str, field: str, cell: dict[str, Any]
) -> None:
    plan = PLAN.model_copy(update={"options": [Options(depth=64, mmap="on"), Options(depth=64, mmap="off")]})
    facts = as_facts(by(results(tmp_path / "results", {}, plan), text))
    a, b = text.partition("=")[2].split(",")
    assert facts["by"] == {"field": field, "a": a, "b": b}
    first = facts["cells"][0]
    assert {name: first[name] for name in cell} == cell
    assert (first["paired"], first["processes"]) == (True, {"a": 3, "b": 3})
