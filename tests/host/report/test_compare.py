from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from device.errors import BadInput
from device.phone import Phone
from host.bench.cell import Protocol, Test
from host.bench.plan import Plan
from host.bench.results import Campaign, append
from host.bench.stats import compare
from host.report.compare import Compared, Pair, as_facts, load
from host.report.rows import NOT_A_SPEED
from tests.host.fakes import campaign, model, phone, run_of, write_results

PP, TG = Test(n_prompt=512, n_gen=0), Test(n_prompt=0, n_gen=128)
PLAN = Plan(models=[model("plain"), model("smooth")], threads=[1, 2], tests=[PP, TG], protocol=Protocol(repetitions=3))
FAST, SLOW, NOISY = (10.0, 10.1, 9.9), (9.0, 9.1, 8.9), (9.0, 11.5, 10.0)
Rates = Mapping[tuple[str, str, int], Sequence[float] | str]


def results(
    folder: Path, rates: Rates, plan: Plan = PLAN, on: Phone | None = None, way: str = "adb", **changes: Any
) -> Path:
    """Results in `folder`: for some cells of `plan` their rates, or why they failed; FAST for all others."""
    known = campaign(plan, on or phone(), way).model_copy(update=changes)
    runs = []
    for cell in plan.cells():
        came = rates.get((cell.model, cell.test.name, cell.threads), FAST)
        runs.append(run_of(known, cell, failure=came) if isinstance(came, str) else run_of(known, cell, came))
    return write_results(folder, known, runs)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return results(tmp_path / "before", {})


def pair_of(compared: Compared, cell: tuple[str, str, int]) -> Pair:
    (pair,) = (p for p in compared.pairs if (p.a.cell.model, p.a.cell.test.name, p.a.cell.threads) == cell)
    return pair


def test_every_cell_has_its_answer(before: Path, tmp_path: Path) -> None:
    after: Rates = {
        ("plain", "pp512", 1): SLOW,
        ("smooth", "tg128", 2): (20.0, 20.1, 19.9),
        ("plain", "tg128", 1): NOISY,
    }
    compared = load(before, results(tmp_path / "after", after), 0.05)
    assert len(compared.pairs) == 8
    answers = {key: pair_of(compared, key).comparison.answer for key in after}
    assert list(answers.values()) == ["slower", "faster", "not significant"]
    unchanged = [pair for pair in compared.pairs if pair.comparison.ratio.mean == 1]
    assert len(unchanged) == 5
    assert {pair.comparison.answer for pair in unchanged} == {"not significant"}
    slower = pair_of(compared, ("plain", "pp512", 1))
    assert slower.comparison == compare(FAST, SLOW)
    assert slower.comparison.ratio.mean == pytest.approx(0.9, abs=1e-3)
    assert compared.regressions == [slower]
    assert (compared.only_a, compared.only_b, compared.changes, compared.caveat) == ([], [], [], "")


@pytest.mark.parametrize(
    ("rates", "threshold", "regression"),
    [
        (SLOW, 0.05, True),
        (SLOW, 0.09, True),
        (SLOW, 0.11, False),  # slower, and within what is allowed
        (SLOW, 0.0, True),
        ((1.0, 19.0, 2.0), 0.05, False),  # far slower, and not significant
        ((20.0, 20.1, 19.9), 0.05, False),
        ((1.0,), 0.05, False),  # one repetition
    ],
)
def test_a_regression_is_significant_and_beyond_the_threshold(
    before: Path, tmp_path: Path, rates: Sequence[float], threshold: float, regression: bool
) -> None:
    cell = ("plain", "pp512", 1)
    compared = load(before, results(tmp_path / "after", {cell: rates}), threshold)
    assert pair_of(compared, cell).regression == regression
    assert bool(compared.regressions) == regression


def test_cells_of_one_folder_only_are_named_with_the_reason(tmp_path: Path) -> None:
    a = results(tmp_path / "a", {("plain", "pp512", 2): "illegal instruction"})
    plan = PLAN.model_copy(update={"threads": [2, 4], "models": [model("plain")], "tests": [PP]})
    b = results(tmp_path / "b", {("plain", "pp512", 4): FAST}, plan)
    with pytest.raises(
        BadInput, match=r"no cell was measured in both; A has plain pp512, 1 threads.*B has plain pp512"
    ):
        load(a, b, 0.05)
    c = results(tmp_path / "c", {}, PLAN.model_copy(update={"tests": [PP]}))
    compared = load(a, c, 0.05)
    assert len(compared.pairs) == 3
    assert compared.only_b == ["plain pp512, 2 threads, Google Pixel 8 over adb: failed: illegal instruction"]
    assert len(compared.only_a) == 4
    assert compared.only_a[0] == "plain tg128, 1 threads, Google Pixel 8 over adb: not asked for"


def test_a_cell_that_failed_in_both_is_in_neither(tmp_path: Path) -> None:
    a, b = (results(tmp_path / name, {("plain", "pp512", 1): "killed"}) for name in ("a", "b"))
    compared = load(a, b, 0.05)
    assert (len(compared.pairs), compared.only_a, compared.only_b) == (7, [], [])


def test_another_model_file_and_drift_are_remarked(before: Path, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"models": [model("plain", sha256="f" * 64), model("smooth")]})
    throttling = (10.0, 9.5, 9.0, 8.5, 8.0)
    after = results(tmp_path / "after", {("smooth", "tg128", 1): throttling, ("plain", "tg128", 1): (9.0,)}, plan)
    compared = load(before, after, 0.05)
    remarks = {key: pair_of(compared, key).remark for key in (("plain", "pp512", 1), ("smooth", "tg128", 1))}
    assert list(remarks.values()) == [
        "another file of that name",
        "B: the repetitions lost 22% from first to last; B: the 95% interval is ±11% of the mean",
    ]
    assert pair_of(compared, ("smooth", "pp512", 1)).remark == ""
    assert "B: one repetition" in pair_of(compared, ("plain", "tg128", 1)).remark


def test_what_else_changed_is_told(before: Path, tmp_path: Path) -> None:
    after = results(tmp_path / "after", {}, on=phone(android="17"), build_id="fedcba9876543210", build_isa="v8.0")
    assert load(before, after, 0.05).changes == [
        "build: 01234567 (i8mm, llama.cpp 0c1e57098) in A, fedcba98 (v8.0, llama.cpp 0c1e57098) in B",
        "Android: 16 in A, 17 in B",
    ]


def test_phones_and_ways_are_compared_each_with_itself(tmp_path: Path) -> None:
    other = phone(id="feedfeedfeed", model="Other")
    for name, rates in (("a", FAST), ("b", SLOW)):
        key = {("plain", "pp512", 1): rates}
        results(tmp_path / name / "1", key)
        results(tmp_path / name / "2", key, way="ssh")
    results(tmp_path / "b" / "3", {}, on=other)
    compared = load(tmp_path / "a", tmp_path / "b", 0.05)
    assert len(compared.pairs) == 16
    assert [(pair.a.campaign.way, pair.b.campaign.way) for pair in compared.regressions] == [
        ("adb", "adb"),
        ("ssh", "ssh"),
    ]
    assert len(compared.only_b) == 8
    assert compared.only_b[0] == "plain pp512, 1 threads, Other over adb: not asked for"


def test_other_phones_are_refused(before: Path, tmp_path: Path) -> None:
    after = results(tmp_path / "after", {}, on=phone(id="feedfeedfeed", model="Other"))
    with pytest.raises(BadInput, match="A was measured on Google Pixel 8, B on Other, another phone"):
        load(before, after, 0.05)


def test_another_way_is_refused(before: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="A was measured over adb, B over ssh"):
        load(before, results(tmp_path / "after", {}, way="ssh"), 0.05)


def test_a_folder_in_which_all_failed_is_refused(before: Path, tmp_path: Path) -> None:
    failed: Rates = {(cell.model, cell.test.name, cell.threads): "killed" for cell in PLAN.cells()}
    with pytest.raises(BadInput, match="B has no measured cell"):
        load(before, results(tmp_path / "after", failed), 0.05)
    with pytest.raises(BadInput, match="A has no measured cell"):
        load(tmp_path / "after", before, 0.05)
    with pytest.raises(BadInput, match="holds no results"):
        load(tmp_path / "nowhere", before, 0.05)


def test_the_same_cell_of_two_campaigns_counts_once_with_all_its_repetitions(before: Path, tmp_path: Path) -> None:
    cell = ("plain", "pp512", 1)
    results(tmp_path / "b" / "1", {cell: SLOW})
    wider = PLAN.model_copy(update={"threads": [1, 2, 4]})
    results(tmp_path / "b" / "2", {cell: (9.2, 8.8), ("smooth", "pp512", 1): "killed"}, wider)
    compared = load(before, tmp_path / "b", 0.05)
    assert len(compared.pairs) == 8
    assert pair_of(compared, cell).b.rates == [*SLOW, 9.2, 8.8]
    assert pair_of(compared, ("smooth", "pp512", 1)).b.rates == list(FAST)
    assert len(compared.only_b) == 4  # with four threads


def test_the_same_question_answered_by_two_builds_is_refused(before: Path, tmp_path: Path) -> None:
    results(tmp_path / "b" / "1", {})
    results(tmp_path / "b" / "2", {}, build_id="fedcba9876543210")
    with pytest.raises(BadInput, match=r"plain pp512, 1 threads.*with different builds.*name one"):
        load(before, tmp_path / "b", 0.05)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_rate_that_is_none_is_damage(before: Path, tmp_path: Path, bad: float) -> None:
    with pytest.raises(BadInput, match=r"runs.jsonl is damaged: plain pp512, 1 threads"):
        load(before, results(tmp_path / "after", {("plain", "pp512", 1): (10.0, bad)}), 0.05)


def test_facts_are_strict_json(before: Path, tmp_path: Path) -> None:
    rates: Rates = {("plain", "pp512", 1): SLOW, ("smooth", "pp512", 1): (9.0,)}
    after = results(tmp_path / "after", rates, on=phone(emulated=True))
    facts = json.loads(json.dumps(as_facts(load(before, after, 0.05)), allow_nan=False))
    assert (facts["threshold"], facts["regressions"], facts["caveat"]) == (0.05, 1, NOT_A_SPEED)
    cells = {(cell["model"], cell["test"], cell["threads"]): cell for cell in facts["cells"]}
    slower, single = cells["plain", "pp512", 1], cells["smooth", "pp512", 1]
    assert (slower["answer"], slower["regression"], slower["phone"], slower["way"]) == (
        "slower",
        True,
        "Google Pixel 8",
        "adb",
    )
    assert slower["ratio"]["low"] < slower["ratio"]["value"] < slower["ratio"]["high"] < 1
    assert (slower["a"]["value"], slower["a"]["repetitions"]) == (pytest.approx(10.0), 3)
    assert (single["ratio"]["low"], single["b"]["high"], single["answer"]) == (None, None, "not significant")


def test_a_cell_measured_again_after_it_failed_is_measured(before: Path, tmp_path: Path) -> None:
    cell = ("plain", "pp512", 1)
    after = results(tmp_path / "after", {cell: "killed"})
    assert len(load(before, after, 0.05).pairs) == 7
    known: Campaign = campaign(PLAN, phone())
    append(after, run_of(known, next(iter(PLAN.cells())), SLOW))
    assert pair_of(load(before, after, 0.05), cell).b.rates == list(SLOW)
