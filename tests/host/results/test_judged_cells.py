from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.job.journal import Waited
from smoothdroid.host.llamacpp.tool_output import CompletionRecord
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.checks import ENERGY
from smoothdroid.host.results.judged_cells import Judged, is_counted, judge_all
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import SAMPLES, Run
from tests.host.fakes import campaign, model, phone, run_of

TG = Test(n_gen=8)
PLAN = Plan(
    models=[model("a").model_copy(update={"decode_bytes": 8_000_000_000})],
    tests=[TG, TG.model_copy(update={"sustained_s": 60}), Test(prompt="hi", n_gen=8)],
    threads=[1, 2, 4],
    protocol=Protocol(repetitions=3, rounds=3),
)
PIXEL = phone()
CAMPAIGN = campaign(PLAN, PIXEL)
CELLS = {(cell.test.name, cell.threads): cell for cell in PLAN.cells()}
CELL = CELLS["tg8", 4]
STEADY = (1.99, 2.0, 2.01)  # four seconds each

BATTERY = ("status", "current_now", "voltage_now")
HEAD = "column\ttime\ncolumn\tcap\t8\n" + "".join(f"column\tbattery\t{it}\n" for it in BATTERY) + "top\t8\t3000000\n"


def samples(*moments: tuple[int, int, str], masks: str = "0-8") -> str:
    """A runner's file: at each moment (seconds), the cap of CPU 8 in MHz and whether it is charging."""
    lines = [HEAD]
    for at_s, cap, status in moments:
        lines.append(f"sample\t{at_s * 100}\t{cap * 1000}\t{status}\t-500000\t4000000\n")
        lines += [f"/proc/7/task/{thread}/status:Cpus_allowed_list:\t{masks}\n" for thread in range(7, 11)]
    return "".join(lines)


def measured(cell: Cell, rates: Sequence[float], number: int = 0, **changes: Any) -> Run:
    known = run_of(CAMPAIGN, cell, rates)
    return known.model_copy(update={"round": number, "wall_s": known.measured_s + 10, "job": "j", **changes})


def judged(folder: Path, *runs: Run, seen: dict[int, str] | None = None) -> dict[tuple[str, int], Judged]:
    (folder / SAMPLES).mkdir(exist_ok=True)
    for run in runs:
        if text := (seen or {}).get(run.round):
            (folder / run.samples).write_text(text)
    return {(one.cell.test.name, one.cell.threads): one for one in judge_all(folder, CAMPAIGN, runs)}


def checks(one: Judged) -> list[str]:
    return [finding.check for finding in one.verdict.findings if finding.invalid]


COOL = samples((0, 3000, "Discharging"), (15, 3000, "Discharging"), (20, 3000, "Discharging"))
HOT = samples((0, 3000, "Discharging"), (15, 1500, "Discharging"), (20, 1500, "Discharging"))
HOT_BEFORE = samples((0, 1500, "Discharging"), (5, 1500, "Discharging"), (15, 3000, "Discharging"))


def test_all_rounds_together_make_the_cell(tmp_path: Path) -> None:
    runs = [measured(CELL, STEADY, number) for number in (2, 0, 1)]
    one = judged(tmp_path, *runs, seen={0: COOL, 1: COOL, 2: COOL})["tg8", 4]
    assert (one.verdict.valid, one.failure, one.rejected) == (True, "", [])
    assert [run.round for run in one.counted] == [0, 1, 2]
    assert one.rates == [*STEADY] * 3


def test_a_throttled_round_is_kept_shown_and_never_averaged_in(tmp_path: Path) -> None:
    runs = [measured(CELL, (1.0, 1.0, 1.0) if number == 1 else STEADY, number) for number in range(3)]
    one = judged(tmp_path, *runs, seen={0: COOL, 1: HOT, 2: COOL})["tg8", 4]
    assert one.verdict.valid
    assert one.rates == [*STEADY] * 2
    assert [run.round for run in one.rejected] == [1]
    (why,) = [finding for finding in one.verdict.findings if finding.check == "throttled"]
    assert why.found == "round 2 does not count: CPU 8 was held to 1500 of its 3000 MHz"


def test_a_run_is_believed_or_not_by_itself(tmp_path: Path) -> None:
    runs = [measured(CELL, STEADY, number) for number in range(2)]
    judged(tmp_path, *runs, seen={0: COOL, 1: HOT})
    assert [is_counted(tmp_path, CAMPAIGN, run) for run in runs] == [True, False]


def test_a_cell_throttled_in_all_rounds_is_invalid(tmp_path: Path) -> None:
    one = judged(tmp_path, *(measured(CELL, STEADY, n) for n in range(3)), seen={0: HOT, 1: HOT, 2: HOT})["tg8", 4]
    assert checks(one) == ["throttled"]
    assert (one.counted, one.rates, one.joules_per_token) == ([], [*STEADY] * 3, None)


def test_what_happened_before_the_repetitions_began_does_not_count(tmp_path: Path) -> None:
    """Loading and warm-up: here the first ten seconds."""
    one = judged(tmp_path, measured(CELL, STEADY), seen={0: HOT_BEFORE})["tg8", 4]
    assert checks(one) == []


def test_a_mask_seen_only_before_the_repetitions_is_seen(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"masks": [(0, 1, 2, 3)], "tests": [TG]})
    known = campaign(plan, PIXEL)
    cell = next(cell for cell in plan.cells() if cell.threads == 4)
    run = run_of(known, cell, STEADY).model_copy(update={"wall_s": 30.0, "job": "j"})
    (tmp_path / SAMPLES).mkdir()
    for masks, valid in (("0-3", True), ("0-1", False)):
        (tmp_path / run.samples).write_text(samples((5, 3000, "Discharging"), masks=masks))
        one = next(one for one in judge_all(tmp_path, known, [run]) if one.cell == cell)
        assert one.verdict.valid == valid
    assert checks(one) == ["mask not held"]


def test_a_cell_far_below_its_neighbour_has_collapsed(tmp_path: Path) -> None:
    found = judged(tmp_path, measured(CELLS["tg8", 2], [20.0, 20.1, 19.9]), measured(CELL, STEADY))
    assert checks(found["tg8", 4]) == ["collapsed"]
    assert checks(found["tg8", 2]) == []
    assert judged(tmp_path, measured(CELLS["tg8", 1], STEADY), measured(CELL, STEADY))["tg8", 4].verdict.valid


def test_more_than_the_memory_gives_is_impossible(tmp_path: Path) -> None:
    known = CAMPAIGN.model_copy(update={"phone": phone(soc="SM8650")})  # 76.8 GB/s, and each token reads 8 GB
    for rate, valid in ((9.5, True), (9.7, False)):
        cell = next(c for c in PLAN.cells() if c == CELL)
        run = run_of(known, cell, [rate] * 3)
        one = next(one for one in judge_all(tmp_path, known, [run]) if one.cell == cell)
        assert one.verdict.valid == valid
    assert checks(one) == ["impossible"]


def test_processes_that_differ_widen_the_interval_and_reject_nothing(tmp_path: Path) -> None:
    runs = [measured(CELL, [rate * factor for rate in STEADY], n) for n, factor in enumerate((1.0, 1.01, 0.99))]
    one = judged(tmp_path, *runs)["tg8", 4]
    assert checks(one) == []
    assert one.means == pytest.approx([2.0, 2.02, 1.98])
    runs = [measured(CELL, [rate * factor for rate in STEADY], n) for n, factor in enumerate((1.0, 1.2, 1.0))]
    assert checks(judged(tmp_path, *runs)["tg8", 4]) == ["unstable"]


def test_three_rounds_that_each_lose_15_percent_are_invalid(tmp_path: Path) -> None:
    losing = [(2.0, 1.85, 1.7), (2.02, 1.86, 1.71), (1.99, 1.84, 1.7)]
    one = judged(tmp_path, *(measured(CELL, rates, n) for n, rates in enumerate(losing)))["tg8", 4]
    assert checks(one) == ["unstable"]
    assert "the repetitions of each process lost 16% from first to last" in [f.found for f in one.verdict.findings]


def test_one_process_is_labelled_and_stays_valid(tmp_path: Path) -> None:
    one = judged(tmp_path, measured(CELL, STEADY))["tg8", 4]
    assert one.verdict.valid
    assert "one process" in [finding.check for finding in one.verdict.findings]
    two = judged(tmp_path, measured(CELL, STEADY), measured(CELL, STEADY, 1))["tg8", 4]
    assert "one process" not in [finding.check for finding in two.verdict.findings]


def test_a_sustained_cell_may_slow_down(tmp_path: Path) -> None:
    slowing = [2.0, 1.8, 1.5, 1.2, 1.0]
    cell = CELLS["tg8 for 1 min", 4]
    one = judged(tmp_path, measured(cell, slowing), seen={0: HOT})[cell.test.name, 4]
    assert one.verdict.valid
    assert "throttled" in [finding.check for finding in one.verdict.findings]


def test_energy_is_told_on_battery(tmp_path: Path) -> None:
    one = judged(tmp_path, measured(CELL, STEADY), seen={0: COOL})["tg8", 4]
    assert one.joules == pytest.approx([1.0])
    plugged = samples((0, 3000, "Charging"), (15, 3000, "Charging"))
    two = judged(tmp_path, measured(CELL, STEADY), seen={0: plugged})["tg8", 4]
    assert (two.joules_per_token, two.verdict.valid) == (None, True)
    assert ENERGY in [finding.check for finding in two.verdict.findings]


def test_energy_has_an_interval_over_processes(tmp_path: Path) -> None:
    runs = [measured(CELL, [rate * factor for rate in STEADY], n) for n, factor in enumerate((1.0, 1.01, 0.99))]
    found = judged(tmp_path, *runs, seen={0: COOL, 1: COOL, 2: COOL})["tg8", 4].joules_per_token
    assert found
    assert found.n == 3
    assert found.low < 1.0 < found.high


def test_an_emulated_phone_has_no_energy(tmp_path: Path) -> None:
    emulated = CAMPAIGN.model_copy(update={"phone": PIXEL.model_copy(update={"emulated": True})})
    run = measured(CELL, STEADY)
    (tmp_path / SAMPLES).mkdir()
    (tmp_path / run.samples).write_text(COOL)
    one = next(one for one in judge_all(tmp_path, emulated, [run]) if one.cell == CELL)
    assert one.counted
    assert (one.joules, one.joules_per_token) == ([], None)


def test_what_went_wrong_on_the_way_is_remarked(tmp_path: Path) -> None:
    run = measured(CELL, STEADY, attempt=2, waited=Waited(seconds=600, too_hot="BIG"))
    one = judged(tmp_path, run)["tg8", 4]
    assert one.verdict.valid
    found = {finding.check: finding.found for finding in one.verdict.findings}
    assert found["began warm"] == "after 600 s BIG was still above the limit"
    assert found["interrupted"].startswith("measured at attempt 2")


def test_the_latest_run_of_a_round_counts_and_a_failure_does_not_undo_it(tmp_path: Path) -> None:
    failed = run_of(CAMPAIGN, CELL, failure="killed")
    again = measured(CELL, (2.5, 2.51, 2.49))
    for runs in ([failed, measured(CELL, STEADY), again], [measured(CELL, STEADY), again, failed]):
        assert judged(tmp_path, *runs)["tg8", 4].rates == [2.5, 2.51, 2.49]
    assert judged(tmp_path, failed)["tg8", 4].failure == "failed: killed"


def test_what_was_not_reached_says_so(tmp_path: Path) -> None:
    found = judged(tmp_path, run_of(CAMPAIGN, CELL, failure="killed"))
    sustained = next(name for name in found if "for" in name[0] and name[1] == 4)
    assert found[sustained].failure == "not measured: its burst failed"
    assert found["tg8", 1].failure == "not measured yet"


def test_a_prompt_tells_of_its_first_token(tmp_path: Path) -> None:
    cell = CELLS["“hi”", 4]
    told = CompletionRecord(prompt_tokens=20, prompt_tps=40.0, generated_tokens=7, generated_tps=3.5)
    run = run_of(CAMPAIGN, cell, [3.5]).model_copy(update={"completion": told, "bench": None})
    assert (run.first_token_s, run.measured_s) == (0.5, 2.5)
    assert judged(tmp_path, run)["“hi”", 4].rates == [3.5]


HOT_ZONE = "column\ttime\ncolumn\tzone\tthermal_zone3\tcpu-0\ncolumn\tzone\tthermal_zone4\tskin\ntrip\tcpu-0\t95000\n"


@pytest.mark.fault(
    "A zone above its trip point answers once with -127 degrees",
    transport="any",
    outcome="the cell is throttled all the same, and names the reading that was left out",
)
def test_a_hot_zone_with_one_glitch_still_makes_a_cell_throttled(tmp_path: Path) -> None:
    """A sensor's answer without power (raspberrypi/firmware #133)."""
    zone = [40000, 97000, 98000, -127000, 98000, 97500]
    lines = "".join(f"sample\t{100 * (at + 12)}\t{value}\t41000\n" for at, value in enumerate(zone))
    begun = "sample\t0\t40000\t38000\n"
    one = judged(tmp_path, measured(CELL, STEADY), seen={0: HOT_ZONE + begun + lines})["tg8", 4]
    assert "throttled" in checks(one)
    (remark,) = [finding.found for finding in one.verdict.findings if finding.check == "sensor readings"]
    assert remark == "1 reading of thermal_zone3 (cpu-0) was implausible and left out"


def test_a_wait_in_vain_names_the_sensor(tmp_path: Path) -> None:
    waited = Waited(seconds=20.0, too_hot="thermal_zone5", kind="mtkts_bts1")
    one = judged(tmp_path, measured(CELL, STEADY, waited=waited), seen={0: COOL})["tg8", 4]
    (found,) = [finding.found for finding in one.verdict.findings if finding.check == "began warm"]
    assert found == "after 20 s mtkts_bts1, thermal_zone5 was still above the limit"


def test_a_cell_over_before_it_was_sampled_says_so(tmp_path: Path) -> None:
    brief = measured(CELL, (40.0, 40.0, 40.0))  # of 8 tokens each
    one = judged(tmp_path, brief, seen={0: samples((0, 3000, "Discharging"), (1, 3000, "Discharging"))})["tg8", 4]
    found = next(finding for finding in one.verdict.findings if finding.check == "not checked")
    assert "the timed part of 0.6 s was too short to sample frequency caps" in found.found
