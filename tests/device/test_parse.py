"""What llama.cpp printed, on phones and elsewhere. Where the outputs come from: tests/data/phones/SOURCES.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device.parse import CompletionRecord, NoNumber, parse_bench, parse_completion

OUTPUTS = Path(__file__).parents[1] / "data/phones/outputs"


def output(name: str) -> str:
    return (OUTPUTS / name).read_text()


BENCH = output("llama-bench_b0c1e57098.jsonl")
PROMPT, GENERATION = BENCH.splitlines()


def changed(**fields: object) -> str:
    return json.dumps(json.loads(PROMPT) | fields)


# --- llama-bench --------------------------------------------------------------------------------------------


def test_the_records_of_a_real_bench() -> None:
    prompt, generation = parse_bench(BENCH)
    assert (prompt.n_prompt, prompt.n_gen, prompt.n_depth, prompt.n_threads) == (8, 0, 0, 1)
    assert prompt.samples_ts == [9.48322, 9.19872]
    assert prompt.samples_ns == [843595343, 869686132]
    assert (prompt.model_type, prompt.model_size, prompt.model_n_params) == ("llama 256M Q8_0", 143025408, 134515008)
    assert prompt.build_commit == "0c1e57098"
    assert (generation.n_prompt, generation.n_gen) == (0, 2)
    assert generation.samples_ts == [5.04667, 5.08151]


def test_log_lines_around_the_records_do_no_harm() -> None:
    log = output("llama-bench_log_s25.txt") + "ggml-hex: [0] device HTP0 {v79}\n[0]\n"
    assert parse_bench(log + PROMPT + "\n" + log + GENERATION + "\r\n" + log) == parse_bench(BENCH)


@pytest.mark.parametrize(
    ("stdout", "said"),
    [
        ("", "no record.*none"),
        (output("llama-bench_log_s25.txt"), "no record.*HTP0"),
        ("[0]\n[]\n", "no record"),
        (PROMPT[:-200], "cannot be read"),
        (f"{PROMPT}\n{GENERATION[:300]}", "cannot be read"),
        ("{}", "build_commit"),
        (changed(samples_ts=[]), "samples_ts"),
        (changed(samples_ts=None), "samples_ts"),
        (changed(samples_ts=[9.5, 0.0]), "rates"),
        (changed(samples_ts=[9.5, -1.0]), "rates"),
        (changed(samples_ts=[9.5, float("inf")]), "rates"),
        (changed(samples_ts=[9.5, float("nan")]), "rates"),
        (changed(n_threads=0), "n_threads"),
        (changed(n_prompt="many"), "n_prompt"),
    ],
)
def test_a_number_that_is_not_there_is_an_error(stdout: str, said: str) -> None:
    with pytest.raises(NoNumber, match=f"(?s){said}"):
        parse_bench(stdout)


@pytest.mark.parametrize("field", ["n_threads", "n_prompt", "n_gen", "samples_ns", "samples_ts", "model_size"])
def test_a_missing_field_is_named(field: str) -> None:
    record = json.loads(PROMPT)
    del record[field]
    with pytest.raises(NoNumber, match=field):
        parse_bench(json.dumps(record))


def test_a_field_of_a_later_llama_bench_does_no_harm() -> None:
    assert parse_bench(changed(new_field={"a": 1})) == parse_bench(PROMPT)


# --- llama-completion and older llama-cli -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "timings"),
    [
        ("llama_print_timings_old_form.txt", (51, 9.96, 32, 6.02)),
        ("llama_perf_context_print_8elite.txt", (11, 136.21, 475, 51.57)),
        ("common_perf_print_plain_b7404.txt", (62, 37.06, 505, 31.54)),
        ("common_perf_print_timestamped_b10580.txt", (9, 18.47, 7, 3.51)),
    ],
)
def test_every_generation_of_timings(name: str, timings: tuple[int, float, int, float]) -> None:
    prompt_tokens, prompt_tps, generated_tokens, generated_tps = timings
    expected = CompletionRecord(
        prompt_tokens=prompt_tokens,
        prompt_tps=prompt_tps,
        generated_tokens=generated_tokens,
        generated_tps=generated_tps,
    )
    for log in (output(name), output(name).replace("\n", "\r\n"), "안녕" + output(name), "\n" * 9 + output(name)):
        assert parse_completion(log) == expected


def test_the_last_timings_count() -> None:
    early, late = output("llama_print_timings_old_form.txt"), output("common_perf_print_plain_b7404.txt")
    assert parse_completion(early + late) == parse_completion(late)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "prompt eval time.*none"),
        ("Segmentation fault\n", "prompt eval time.*Segmentation fault"),
        # One token was asked for: "0.00 ms / 1 runs ... inf tokens per second".
        (output("llama_perf_context_print_inf_s25.txt"), "`eval time`"),
        (output("common_perf_print_plain_b7404.txt").replace("505 runs", "  0 runs").replace("31.54", " 0.00"), "none"),
        (output("common_perf_print_plain_b7404.txt").replace("37.06", "  inf"), "`prompt eval time`"),
        (output("common_perf_print_plain_b7404.txt").replace("31.54", "  nan"), "`eval time`"),
        ("[ Prompt: 24.1 t/s | Generation: 9.8 t/s ]", "prompt eval time"),
    ],
)
def test_timings_that_are_not_there_are_an_error(log: str, said: str) -> None:
    with pytest.raises(NoNumber, match=f"(?s){said}"):
        parse_completion(log)


def test_the_models_own_words_are_no_timings() -> None:
    """A prompt about llama.cpp can make the model print such a line without the numbers."""
    log = "common_perf_print: prompt eval time is long\n" + output("common_perf_print_plain_b7404.txt")
    assert parse_completion(log).prompt_tps == 37.06
