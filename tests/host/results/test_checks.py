"""Numbers that are none, most of them published. Sources: tests/data/cells, tests/data/phones, and the names below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.info.battery import Battery, parse_battery
from smoothdroid.device.telemetry.samples import Observation, Sample
from smoothdroid.host.results.checks import (
    charging,
    collapsed,
    drifting,
    implausible,
    impossible,
    judge,
    single,
    starved,
    stepping,
    swapped,
    unread,
    vague,
    wandered,
)
from smoothdroid.host.results.finding import Finding, Measured

DATA = Path(__file__).parents[2] / "data"
STEADY = [20.0, 20.1, 19.9, 20.05, 19.95]
LLAMA_2_7B_Q8_0 = 7_160_000_000  # bytes


def cell(*rates: float, threads: int = 4, samples: list[dict[str, Any]] | None = None, **known: Any) -> Measured:
    """A cell of one process."""
    taken = [Sample(at_s=float(second), **sample) for second, sample in enumerate(samples or [])]
    seen = {"observation": Observation(samples=taken)} | known
    return Measured(tokens_per_s=rates or STEADY, threads=threads, rounds=[rates or STEADY], **seen)


def processes(*rounds: Sequence[float]) -> Measured:
    """A cell of several processes, the repetitions of each."""
    return Measured([rate for rates in rounds for rate in rates], 4, Observation(samples=[]), rounds=rounds)


def said(finding: Finding | None, check: str) -> str:
    assert finding is not None
    assert (finding.check, finding.invalid) == (check, True)
    assert finding.advice
    return finding.found


# --- unstable -----------------------------------------------------------------------------------------------


def test_an_interval_over_processes_that_says_nothing() -> None:
    # Galaxy S25, qwen2 1.5B Q4_0, pp128: 62.06 ± 12.28, printed without a word.
    wide = said(vague(processes([49.78], [62.06], [74.34])), "unstable")
    assert wide == "the 95% interval over 3 processes is ±49% of the mean"
    # Its neighbour, tg128: 32.35 ± 0.16.
    assert vague(processes([32.19], [32.35], [32.51])) is None
    # Around the limit: half the interval of two values is 12.7 times half their distance.
    assert vague(processes([100.0], [100.75])) is None
    found = said(vague(processes([100.0], [100.9])), "unstable")
    assert found == "the 95% interval over 2 processes is ±6% of the mean"


def test_steady_repetitions_do_not_narrow_the_interval_of_processes_that_differ() -> None:
    differ = [[rate * factor for rate in STEADY * 20] for factor in (1.0, 1.1)]
    assert "over 2 processes is ±61%" in said(vague(processes(*differ)), "unstable")


def test_repetitions_that_waver_alike_in_all_processes_leave_a_narrow_interval() -> None:
    assert vague(processes([18.0, 22.0], [22.0, 18.0], [18.1, 22.0])) is None


def test_in_one_process_the_repetitions_may_be_too_wide() -> None:
    wide = said(vague(cell(49.78, 62.06, 74.34)), "unstable")
    assert wide == "the 95% interval over the 3 repetitions of one process is ±49% of the mean"
    assert vague(cell(32.19, 32.35, 32.51)) is None


def test_a_single_value_is_no_measurement() -> None:
    assert said(vague(cell(20.0)), "unstable") == "a single value shows nothing of how it varies"


def test_one_process_is_named_and_rejects_nothing() -> None:
    found = single(cell())
    assert found is not None
    assert (found.check, found.invalid) == ("one process", False)
    assert "so there is no interval" in found.found
    assert found.advice == "measure with --rounds 5"
    assert judge(cell()).valid
    assert single(processes([20.0], [20.1])) is None


def test_repetitions_that_throttle() -> None:
    # TinyBench: a phone lost 44 % by its eighth repetition.
    lost = said(drifting(cell(100.0, 89.0, 79.0, 72.0, 66.0, 62.0, 58.0, 56.0)), "unstable")
    assert lost == "the repetitions of the process lost 60% from first to last"
    assert "of the process gained 26%" in said(drifting(cell(10.0, 11.0, 12.0, 13.0)), "unstable")


def test_processes_that_start_cool_and_throttle_each_time() -> None:
    # The means agree and their interval is narrow: only within the processes does it show.
    again = processes([20.0, 17.0], [20.1, 17.2], [19.9, 17.0])
    assert vague(again) is None
    assert said(drifting(again), "unstable") == "the repetitions of each process lost 16% from first to last"


@pytest.mark.parametrize(
    "rounds",
    [
        [STEADY],
        [[20.0]],
        [[20.0, 10.0]],  # two values have no direction
        [[20.0, 19.9, 19.8, 19.7]],  # significant, and 1.5 % of it
        [[20.0, 15.0, 21.0, 14.0, 20.0]],  # wide, and no drift
        [[20.0], [18.0], [16.0]],  # from process to process, which is not within them
        [[20.0, 17.0], [17.0, 20.0], [20.0, 20.1]],  # up and down
        [],
    ],
)
def test_repetitions_that_do_not_drift(rounds: list[list[float]]) -> None:
    assert drifting(processes(*rounds)) is None


def test_a_rate_that_steps_and_stays() -> None:
    # A background job began at the seventh of eight repetitions.
    fell = said(stepping(cell(20.0, 20.1, 19.9, 20.0, 20.1, 19.9, 15.0, 15.1)), "unstable")
    assert fell == "in process 1 the rate fell by 26% after repetition 6"
    rose = [[20.0, 20.1], [20.0, 19.9], [20.1, 25.0], [20.1, 20.0], [19.9, 20.0]]
    assert said(stepping(processes(*rose)), "unstable") == "in process 3 the rate rose by 22% after repetition 1"


@pytest.mark.parametrize(
    "rounds",
    [
        [STEADY],
        [[20.0]],
        [[20.0, 15.0]],  # no noise is known to compare with
        [[20.0, 20.0, 20.0, 20.6, 20.6, 20.6]],  # certain, and 3 % of it
        [[20.0, 20.1], [16.0, 16.1], [20.0, 20.1]],  # from process to process
        [[20.0, 15.0, 21.0, 14.0, 20.0, 16.0]],  # noise
        [],
    ],
)
def test_rates_that_do_not_step(rounds: list[list[float]]) -> None:
    assert stepping(processes(*rounds)) is None


# --- collapsed ----------------------------------------------------------------------------------------------

DIMENSITY = {1: 18.8, 2: 23.3, 3: 28.2, 4: 23.9, 5: 0.26}  # llama.cpp issue 21763: Qwen2.5-1.5B Q4_0


def test_one_thread_too_many() -> None:
    verdicts = {}
    for threads, rate in DIMENSITY.items():
        others = {other: theirs for other, theirs in DIMENSITY.items() if other != threads}
        verdicts[threads] = collapsed(cell(rate, rate, rate, threads=threads, neighbours=others))
    assert said(verdicts.pop(5), "collapsed") == "0.26 tokens/s with 5 threads, 23.9 with 4"
    assert set(verdicts.values()) == {None}


def test_fewer_threads_may_be_slower_by_as_much_as_they_are_fewer() -> None:
    assert collapsed(cell(2.5, 2.5, threads=1, neighbours={8: 20.0})) is None
    assert collapsed(cell(0.4, 0.4, threads=1, neighbours={8: 20.0})) is not None
    assert collapsed(cell(4.9, 4.9, threads=8, neighbours={4: 20.0})) is None  # little cores: slow, and true
    assert collapsed(cell(0.1, 0.1)) is None  # nothing to compare with


def test_only_the_nearest_counts_are_neighbours() -> None:
    assert collapsed(cell(3.0, 3.0, threads=8, neighbours={2: 40.0, 7: 4.0})) is None


# --- impossible ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soc", "rate", "bytes_per_token", "believed"),
    [
        ("SM8650", 10.0, LLAMA_2_7B_Q8_0, True),
        ("SM8650", 12.0, LLAMA_2_7B_Q8_0, False),
        ("SM8650", 15.0, LLAMA_2_7B_Q8_0, False),
        ("lahaina", 7.0, LLAMA_2_7B_Q8_0, True),
        ("lahaina", 7.3, LLAMA_2_7B_Q8_0, False),
        ("SM8550-AC", 12.3, 1_820_000_000, True),  # PocketPal, May 2026: SmolLM2-1.7B Q8_0
        ("zuma", 1000.0, LLAMA_2_7B_Q8_0, True),  # no source tells its memory
        ("SM8650", 5000.0, 16_000_000, True),  # lives in the caches
        ("SM8650", 100.0, None, True),  # prefill
    ],
)
def test_what_the_memory_cannot_deliver(soc: str, rate: float, bytes_per_token: int | None, believed: bool) -> None:
    found = impossible(cell(rate, rate * 0.99, soc=soc, bytes_per_token=bytes_per_token))
    assert (found is None) == believed


def test_the_arithmetic_is_shown_with_its_source() -> None:
    found = said(impossible(cell(15.0, 14.9, soc="SM8650", bytes_per_token=LLAMA_2_7B_Q8_0)), "impossible")
    assert found.startswith("15 tokens/s of 7.16 GB each are 107 GB/s, above the 76.8 GB/s of the Snapdragon 8 Gen 3's")
    assert "LPDDR5X-9600" in found
    assert "nextpit" in found


# --- mask ---------------------------------------------------------------------------------------------------

BIG = [4, 5, 6, 7]


def threads_on(*masks: list[int]) -> dict[str, Any]:
    return {"thread_cpus": dict(enumerate(masks, 4711))}


@pytest.mark.parametrize(
    "samples",
    [
        [threads_on(BIG, BIG, BIG, BIG)] * 2,
        [threads_on(BIG), {}, threads_on(BIG)],
    ],
)
def test_a_mask_that_held(samples: list[dict[str, Any]]) -> None:
    assert wandered(cell(cpus=BIG, samples=samples)) is None


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        # llama.cpp before PR 26838 ignored -C on Android.
        ([threads_on(list(range(9)))], "a thread could run on 0-8"),
        ([threads_on(BIG), threads_on([4, 5])], "a thread could run on 4-5"),  # a cgroup narrowed it
        ([threads_on(BIG, BIG, [0, 1, 2, 3])], "a thread could run on 0-3"),  # one thread of three
        ([threads_on([4], [4], [4], [4])], "a thread could run on 4"),
        ([threads_on([4, 5], [6, 7])], "a thread could run on 4-5"),  # each on half of it
        ([threads_on([4], [5], [6], [8])], "a thread could run on 4"),
        ([{}, {}], "nothing was read back"),
        ([], "nothing was read back"),
    ],
)
def test_a_mask_that_did_not_hold(samples: list[dict[str, Any]], words: str) -> None:
    assert words in said(wandered(cell(cpus=BIG, samples=samples)), "mask not held")


def test_without_a_mask_android_may_have_its_own() -> None:
    background = [threads_on([0, 1, 2, 3])]
    assert "4 CPUs 0-3" in said(wandered(cell(threads=8, samples=background)), "mask not held")
    assert wandered(cell(threads=4, samples=background)) is None
    assert wandered(cell(threads=8)) is None


# --- memory -------------------------------------------------------------------------------------------------


def test_a_benchmark_in_swap() -> None:
    assert "900 MB" in said(swapped(cell(samples=[{"swapped_mb": 0}, {"swapped_mb": 900}, {}])), "swapped")
    assert swapped(cell(samples=[{"swapped_mb": 3}, {}])) is None
    # A phone at rest has gigabytes of others in swap (Pixel 10 Pro XL: 5.3 of 8): that is no one's trouble.
    assert swapped(cell(samples=[{"available_mb": 3412, "swapped_mb": 0}])) is None


def test_weights_read_again_and_again() -> None:
    thrashing = [{"major_faults": 9000 + 2500 * second} for second in range(5)]
    assert "2500 times a second" in said(starved(cell(samples=thrashing)), "memory-starved")


@pytest.mark.parametrize(
    "samples",
    [
        [{"major_faults": 250_000}, {"major_faults": 250_020}],  # all of them while it was loaded
        [{"major_faults": 250_000}],
        [{}, {}],
        [],
    ],
)
def test_weights_that_stay(samples: list[dict[str, Any]]) -> None:
    assert starved(cell(samples=samples)) is None


# --- energy -------------------------------------------------------------------------------------------------


def battery(name: str) -> Battery:
    return parse_battery((DATA / "phones/battery" / f"{name}.txt").read_text())


@pytest.mark.parametrize("name", ["samsung_s20plus_a13", "samsung_full_on_usb", "oneplus_ace5_a15"])
def test_a_phone_on_its_charger_tells_no_energy(name: str) -> None:
    found = charging(cell(samples=[{"battery": Battery(charging=False)}, {"battery": battery(name)}]))
    assert found is not None
    assert (found.check, found.found, found.invalid) == ("energy withheld", "the phone was charging", False)


def test_energy_is_told_on_battery_only() -> None:
    on_battery = cell(samples=[{"battery": Battery(charging=False)}] * 3)
    assert charging(on_battery) is None
    read_now_and_then = cell(samples=[{"battery": Battery(charging=False)}, {"battery": Battery()}, {}])
    assert charging(read_now_and_then) is None
    assert judge(on_battery).energy


@pytest.mark.parametrize("samples", [[], [{}], [{"battery": Battery()}]])
def test_a_charger_that_nobody_can_see_may_be_there(samples: list[dict[str, Any]]) -> None:
    found = charging(cell(samples=samples))
    assert found is not None
    assert "could not be read" in found.found
    assert not judge(cell(samples=samples)).energy


def test_an_unbelievable_cell_tells_no_energy() -> None:
    assert not judge(cell(10.0, 20.0, 30.0, samples=[{"battery": Battery(charging=False)}])).energy


# --- all together -------------------------------------------------------------------------------------------

KNOWN: dict[str, Any] = {
    "cap_mhz": {8: 2914},
    "mhz": {8: 2914},
    "celsius": {"BIG": 60.0},
    "thermal_status": 0,
    "swapped_mb": 0,
    "major_faults": 1,
    "battery": Battery(charging=False),
}


def test_a_cell_of_which_everything_is_known_and_nothing_found() -> None:
    seen = Observation(max_mhz={8: 2914}, samples=[Sample(at_s=0.0, **KNOWN), Sample(at_s=1.0, **KNOWN)])
    verdict = judge(Measured(STEADY, 1, seen, soc="SM8650", bytes_per_token=LLAMA_2_7B_Q8_0 // 10))
    assert verdict.findings == []
    assert verdict.valid
    assert verdict.energy


def test_what_could_not_be_checked_is_said() -> None:
    verdict = judge(cell(soc="zuma", bytes_per_token=LLAMA_2_7B_Q8_0))
    assert verdict.valid
    found = next(finding for finding in verdict.findings if finding.check == "not checked")
    assert found == unread(cell(soc="zuma", bytes_per_token=LLAMA_2_7B_Q8_0))
    for what in ("caps", "frequencies", "temperatures", "trip points", "swapped", "page faults", "peak memory"):
        assert what in found.found


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ("cap_mhz", "frequency caps"),
        ("mhz", "frequencies,"),
        ("celsius", "temperatures"),
        ("thermal_status", "trip points"),
        ("swapped_mb", "swapped memory"),
        ("major_faults", "page faults"),
    ],
)
def test_what_is_known_is_not_called_unknown(told: str, what: str) -> None:
    seen = Observation(max_mhz={8: 2914}, samples=[Sample(at_s=float(s), **{told: KNOWN[told]}) for s in range(2)])
    found = unread(Measured(STEADY, 1, seen))
    assert found is not None
    assert what not in found.found
    assert found.found.count(",") == 4


@pytest.mark.fault(
    "A cell is over before the phone's sensors are read",
    transport="any",
    outcome="the cell says that its timed part was too short to sample, and what to do",
)
def test_what_there_was_no_time_to_read_is_not_called_unknown() -> None:
    """As of loading and warm-up, which are seen and do not count."""
    before = [Sample(at_s=float(second), **KNOWN) for second in range(3)]
    whole = Observation(max_mhz={8: 2914}, trip_celsius={"BIG": 95.0}, samples=before)
    timed = whole.model_copy(update={"samples": [Sample(at_s=sample.at_s) for sample in before]})
    brief = Measured(STEADY, 1, timed, whole=whole, timed_s=0.31)
    found = unread(brief)
    assert found is not None
    assert found.found.startswith("the timed part of 0.31 s was too short to sample frequency caps, frequencies, ")
    assert "more tokens or repetitions" in found.advice
    assert not found.invalid
    energy = charging(brief)
    assert energy is not None
    assert energy.found == "the timed part of 0.31 s was too short to sample the battery's state"


def test_one_sample_is_too_few_to_call_anything_unknown() -> None:
    brief = Measured(STEADY, 1, Observation(samples=[Sample(at_s=0.0)]), whole=Observation(), timed_s=0.2)
    found = unread(brief)
    assert found is not None
    assert "not known" not in found.found
    no_samples = unread(Measured(STEADY, 1, Observation(), whole=Observation(), timed_s=60.0))
    assert no_samples is not None
    assert "too short" not in no_samples.found


def test_what_is_never_read_and_what_was_not_read_in_time_are_two_things() -> None:
    samples = [Sample(at_s=float(second), mhz={8: 2914}, cap_mhz={8: 2914}, major_faults=1) for second in range(9)]
    before = [Sample(at_s=0.0, swapped_mb=0), *samples]
    seen = Observation(max_mhz={8: 2914}, samples=samples)
    found = unread(Measured(STEADY, 1, seen, whole=seen.model_copy(update={"samples": before}), timed_s=9.0))
    assert found is not None
    never, _, short = found.found.partition("; ")
    assert never == "this phone does not expose its temperatures, trip points"
    assert short == "the timed part of 9 s was too short to sample swapped memory"


def test_readings_left_out_are_a_remark() -> None:
    seen = Observation(dropped={"thermal_zone3 (cpu-0)": 2, "battery current": 1}, stuck={"thermal_zone5 (x)": 125.0})
    found = implausible(Measured(STEADY, 1, seen))
    assert found is not None
    assert (found.check, found.invalid) == ("sensor readings", False)
    assert "2 readings of thermal_zone3 (cpu-0) were implausible and left out" in found.found
    assert "1 reading of battery current was implausible and left out" in found.found
    assert "thermal_zone5 (x) was stuck at 125 °C" in found.found
    assert implausible(Measured(STEADY, 1, Observation())) is None


def test_everything_that_is_wrong_is_told() -> None:
    hot = Observation.model_validate_json((DATA / "cells/xiaomi-13t-pro-hot.json").read_bytes())
    rates = [10.0, 8.0, 6.0, 4.0]
    verdict = judge(Measured(rates, 4, hot, cpus=BIG, neighbours={3: 60.0}, rounds=[rates]))
    assert not verdict.valid
    assert [finding.check for finding in verdict.findings if finding.invalid] == [
        "mask not held",
        "throttled",
        "throttled",
        "collapsed",
        "unstable",
        "unstable",
    ]
