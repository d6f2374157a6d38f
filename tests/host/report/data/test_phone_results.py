from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.report.data.phone_results import (
    by_phone,
    main_test,
    rejection_reasons,
)
from smoothdroid.host.report.data.rows import EvaluatedCampaign
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.statistics import interval
from tests.host.fakes import campaign, model, phone, run_of, runs_of, write_results
from tests.host.report.whole import load_campaigns

PLAN = Plan(
    models=[model("a")],
    threads=[1, 2, 4],
    tests=[Test(n_prompt=16), Test(n_gen=8), Test(n_gen=32)],
    protocol=Protocol(repetitions=2, rounds=3),
)
Rates = Mapping[tuple[str, int], Sequence[float]]


def sections(folder: Path, rates: Rates, plan: Plan = PLAN) -> list[EvaluatedCampaign]:
    known = campaign(plan, phone())
    cells = [cell for cell in plan.cells() if (cell.test.name, cell.threads) in rates]
    runs = [run for c in cells for run in runs_of(known, c, rates[c.test.name, c.threads])]
    write_results(folder, known, runs)
    return load_campaigns([folder])


def test_the_best_is_the_fastest_that_can_be_believed(tmp_path: Path) -> None:
    found = sections(tmp_path, {("tg8", 1): (5, 5.1, 4.9), ("tg8", 2): (9, 9.1, 8.9), ("tg8", 4): (40, 1, 20)})
    ((best,),) = (group.best_settings for group in by_phone(found))
    assert (best.row.threads, best.rate.mean, best.measured) == (2, 9.0, 3)
    assert best.alike == []


def test_what_is_not_significantly_slower_is_as_good(tmp_path: Path) -> None:
    found = sections(tmp_path, {("tg8", 1): (5, 5.1, 4.9), ("tg8", 2): (9, 9.1, 8.9), ("tg8", 4): (9.05, 9.1, 8.95)})
    ((best,),) = (group.best_settings for group in by_phone(found))
    assert (best.row.threads, [row.threads for row in best.alike]) == (4, [2])


def test_the_interval_of_the_best_accounts_for_the_choice(tmp_path: Path) -> None:
    rates = {("tg8", 1): (9.0, 9.1, 8.9), ("tg8", 2): (9.02, 9.1, 8.9), ("tg8", 4): (8.98, 9.1, 8.9)}
    ((best,),) = (group.best_settings for group in by_phone(sections(tmp_path, rates)))
    assert (best.row.threads, [row.threads for row in best.alike]) == (2, [1, 4])
    alone = interval(rates["tg8", 2])
    assert (best.rate.mean, best.rate.high) == (alone.mean, alone.high)
    assert best.rate.low < alone.low


def test_a_setting_of_one_process_is_neither_hidden_nor_beaten(tmp_path: Path) -> None:
    rates = {("tg8", 1): (20.0,), ("tg8", 2): (9.02, 9.1, 8.9)}
    known = campaign(PLAN, phone())
    one, other = (next(c for c in PLAN.cells() if (c.test.name, c.threads) == key) for key in rates)
    write_results(tmp_path, known, [run_of(known, one, [20.0, 20.1]), *runs_of(known, other, rates["tg8", 2])])
    ((best,),) = (group.best_settings for group in by_phone(load_campaigns([tmp_path])))
    assert (best.row.threads, best.rate.n) == (1, 1)
    assert [row.threads for row in best.alike] == [2], "one process shows no difference"


def test_each_depth_is_a_question_of_its_own(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"options": [Options(), Options(depth=512)]})
    rates = {("tg8", 2): (9, 9.1, 8.9)}
    (section,) = sections(tmp_path, rates, plan)
    assert [best.row.label for best in by_phone([section])[0].best_settings] == ["tg8", "tg8 at depth 512"]
    assert main_test(section.rows, of_prefill=False) == "tg8"
    assert main_test(section.rows, of_prefill=True) is None


def test_the_headline_is_the_longest_test_that_most_models_have(tmp_path: Path) -> None:
    steady = (9, 9.1, 8.9)
    both = sections(tmp_path, {("tg8", 2): steady, ("tg32", 2): steady})
    assert main_test(both[0].rows, of_prefill=False) == "tg32"


def test_the_label_of_a_setting(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"options": [Options(depth=4, cache_k="q8_0")], "masks": [(4, 5, 6, 7)]})
    (section,) = sections(tmp_path, {}, plan)
    assert {row.setting for row in section.rows} >= {
        "1 thread on CPUs mid, cache k q8_0",
        "4 threads on CPUs mid, cache k q8_0",
    }


def test_reasons_for_rejection_are_counted(tmp_path: Path) -> None:
    (section,) = sections(tmp_path, {("tg8", 1): (9, 1, 20), ("tg8", 2): (9.0, 9.1, 8.9)})
    told = {check: (count, example) for check, count, example, _ in rejection_reasons(section.rows)}
    assert told["not measured yet"][0] == 7
    assert told["unstable"] == (1, "a tg8, 1 thread: the 95% interval over 3 processes is ±237% of the mean")


def test_a_phone_is_one_group_for_each_transport_and_twins_have_different_titles(tmp_path: Path) -> None:
    for name, way, identity in (("1", "adb", "x"), ("2", "ssh", "x"), ("3", "adb", "y")):
        write_results(tmp_path / name, campaign(PLAN, phone(id=identity), way), [])
    assert [group.title for group in by_phone(load_campaigns([tmp_path]))] == [
        "Google Pixel 8 (zuma), over adb [x]",
        "Google Pixel 8 (zuma), over ssh",
        "Google Pixel 8 (zuma), over adb [y]",
    ]
