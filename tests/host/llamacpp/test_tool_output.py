"""What llama.cpp printed, on phones and elsewhere. Where the outputs come from: tests/data/phones/SOURCES.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothdroid.host.llamacpp.tool_output import (
    CompletionRecord,
    NoNumber,
    parse_bench,
    parse_completion,
)

OUTPUTS = Path(__file__).parents[2] / "data/phones/outputs"


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
        ("", "no record.*nothing"),
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
        (changed(n_prompt="8"), "n_prompt"),
        (changed(n_threads=True), "n_threads"),
        (changed(n_prompt=9), "contradicts itself: 9 tokens"),
        (changed(samples_ts=[9.48322, 9.10872]), "contradicts itself"),
        (changed(samples_ts=[9.48322]), "contradicts itself"),
        (changed(samples_ns=[0, 869686132]), "contradicts itself"),
        (changed(samples_ns=[-843595343, 869686132]), "contradicts itself"),
        ("[" * 100_000, "no record"),
        ('{"a":' * 100_000, "cannot be read"),
        ("load_tensors: done " + PROMPT, "mixed with other output"),
        (f"{PROMPT[:400]}\nan error\n{PROMPT[400:]}", "cannot be read"),
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


def test_what_was_asked_for_is_told_where_the_version_tells_it() -> None:
    record = parse_bench(PROMPT)[0]
    assert (record.backends, record.cpu_mask, record.cpu_strict, record.poll) == ("CPU", "0x0", False, 50)
    assert (record.type_k, record.type_v, record.flash_attn) == ("f16", "f16", -1)
    assert (record.repack, record.load_mode, record.use_mmap) == (True, "auto", None)
    older = json.loads(changed(flash_attn=False, use_mmap=True))
    for name in ("backends", "cpu_mask", "cpu_strict", "poll", "type_k", "type_v", "repack", "load_mode"):
        del older[name]
    record = parse_bench(json.dumps(older))[0]
    assert (record.flash_attn, record.use_mmap, record.repack, record.poll) == (False, True, None, None)


# --- llama-bench's table ------------------------------------------------------------------------------------


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


def test_the_timings_of_two_runs_are_not_mixed() -> None:
    early, late = output("llama_print_timings_old_form.txt"), output("common_perf_print_plain_b7404.txt")
    torn = late[: late.index("common_perf_print:        eval")]
    with pytest.raises(NoNumber, match="`eval time`"):
        parse_completion(early + torn)
    with pytest.raises(NoNumber, match="`eval time`"):
        parse_completion(late.replace("prompt eval", "prompt evil") + torn)
    other = torn + early[early.index("llama_print_timings:        eval") :]
    with pytest.raises(NoNumber):
        parse_completion(other)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "prompt eval time.*nothing"),
        ("Segmentation fault\n", "prompt eval time.*Segmentation fault"),
        # One token was asked for: "0.00 ms / 1 runs ... inf tokens per second".
        (output("llama_perf_context_print_inf_s25.txt"), "`eval time`"),
        (
            output("common_perf_print_plain_b7404.txt").replace("505 runs", "  0 runs").replace("31.54", " 0.00"),
            "`eval time`",
        ),
        (output("common_perf_print_plain_b7404.txt").replace("37.06", "  inf"), "`prompt eval time`"),
        (output("common_perf_print_plain_b7404.txt").replace("31.54", "  nan"), "`eval time`"),
        ("[ Prompt: 24.1 t/s | Generation: 9.8 t/s ]", "prompt eval time"),
        (
            output("common_perf_print_plain_b7404.txt").replace("37.06", "67.06"),
            "contradicts itself in its `prompt eval",
        ),
        (
            output("common_perf_print_plain_b7404.txt").replace("505 runs", "506 runs"),
            "contradicts itself in its `eval",
        ),
        (output("common_perf_print_plain_b7404.txt").replace("16012.44", "1012.44"), "contradicts itself in its `eval"),
        (output("common_perf_print_plain_b7404.txt").replace("31.71", "21.71"), "contradicts itself in its `eval"),
        (output("common_perf_print_plain_b7404.txt").replace("prompt eval", "eval"), "prompt eval time"),
        (output("common_perf_print_plain_b7404.txt").replace("505 runs  ", "505 tokens"), "`eval time`"),
    ],
)
def test_timings_that_are_not_there_are_an_error(log: str, said: str) -> None:
    with pytest.raises(NoNumber, match=f"(?s){said}"):
        parse_completion(log)


def test_the_models_own_words_are_no_timings() -> None:
    """A prompt about llama.cpp can make the model print such a line without the numbers."""
    log = "common_perf_print: prompt eval time is long\n" + output("common_perf_print_plain_b7404.txt")
    assert parse_completion(log).prompt_tps == 37.06


# --- the interactive llama-cli ------------------------------------------------------------------------------


# --- ten thousand damaged outputs ---------------------------------------------------------------------------

FUZZ = settings(max_examples=2500)
NOISE = st.sampled_from(
    [
        "\n",
        "\r",
        "\x1b[0m",
        "\b|\b/",
        "[0]",
        "{}",
        "| 7",
        "ggml-hex: [0] device HTP0\n",
        "\nllama_perf_context_print:        load time =    1658.50 ms\n",
        "common_perf_print: prompt eval time = ",
        "Segmentation fault\n",
        "안녕",
        "\x00",
    ]
)
DIGITS = st.sampled_from([*"0123456789."])


def cut(text: str, draw: st.DataObject) -> str:
    """What a killed process or a full disk leaves."""
    return text.encode()[: draw.draw(st.integers(0, len(text.encode())))].decode(errors="replace")


def mixed(text: str, draw: st.DataObject) -> str:
    """Another stream's words in the middle."""
    at = draw.draw(st.integers(0, len(text)))
    noise: str = draw.draw(NOISE)
    return text[:at] + noise + text[at:]


def lost(text: str, draw: st.DataObject) -> str:
    """A few characters of one line are gone."""
    at = draw.draw(st.integers(0, len(text) - 1))
    line_end = text.find("\n", at)
    end = min(at + draw.draw(st.integers(1, 40)), line_end if line_end >= 0 else len(text))
    return text[:at] + text[end:]


def altered(text: str, draw: st.DataObject) -> str:
    """One digit is another."""
    at = draw.draw(st.sampled_from([match.start() for match in re.finditer(r"\d", text)] or [0]))
    digit: str = draw.draw(DIGITS)
    return text[:at] + digit + text[at + 1 :]


def twice(text: str, draw: st.DataObject) -> str:
    """A line is there twice."""
    lines = text.splitlines(keepends=True)
    at = draw.draw(st.integers(0, len(lines) - 1))
    return "".join([*lines[: at + 1], *lines[at:]])


def returned(text: str, draw: st.DataObject) -> str:
    """As old adb shells send it."""
    return text.replace("\n", "\r\n")


Way = Callable[[str, st.DataObject], str]


def damaged(text: str, draw: st.DataObject, most: int, ways: Sequence[Way]) -> str:
    """`text` after up to `most` accidents."""
    for _ in range(draw.draw(st.integers(0, most))):
        if text:
            text = draw.draw(st.sampled_from(ways))(text, draw)
    return text


ns = st.integers(10**6, 10**11)


@FUZZ
@given(
    st.lists(
        st.tuples(st.integers(1, 4096), st.booleans(), st.lists(ns, min_size=1, max_size=4)), min_size=1, max_size=3
    ),
    st.data(),
)
def test_fuzzed_records(tests: list[tuple[int, bool, list[int]]], data: st.DataObject) -> None:
    lines: list[str] = []
    truth: dict[tuple[int, int], list[float]] = {}
    for tokens, prefill, times in tests:
        n_prompt, n_gen = (tokens, 0) if prefill else (0, tokens)
        rates = [float(f"{1e9 * tokens / time:.6g}") for time in times]
        lines.append(changed(n_prompt=n_prompt, n_gen=n_gen, samples_ns=times, samples_ts=rates) + "\n")
        truth.setdefault((n_prompt, n_gen), []).extend(rates)
    text = damaged("".join(lines), data, 3, [cut, mixed, lost, altered, twice, returned])
    try:
        records = parse_bench(text)
    except NoNumber:
        assert text != "".join(lines)
        return
    for record in records:
        for rate in record.samples_ts:
            assert any(rate == pytest.approx(true, rel=2e-5) for true in truth[record.n_prompt, record.n_gen])


def test_lines_of_two_runs_are_no_pair() -> None:
    """The first run's `eval` line and the second's `prompt eval` line are torn by a line end in the middle."""
    first, second = timings(PREFIXES[2], (1, 0.1), (1, 0.1)), timings(PREFIXES[2], (1, 0.11), (1, 0.11))
    torn = first.replace("       eval time", "       ev\nal time") + second.replace("prompt eval", "prompt\n eval")
    with pytest.raises(NoNumber, match="no usable"):
        parse_completion(torn)


# Tokens and milliseconds. From 0.1 ms a token on, two digits behind the point tell 2000 tokens from 2001.
timed = st.tuples(st.integers(1, 2000), st.integers(10, 10**5)).map(lambda pair: (pair[0], pair[0] * pair[1] / 100))
PREFIXES = [
    "llama_print_timings: ",
    "llama_perf_context_print: ",
    "common_perf_print: ",
    "0.08.700.664 I common_perf_print: ",
]


def timings(prefix: str, prompt: tuple[int, float], generated: tuple[int, float]) -> str:
    """The format strings of llama.cpp's common/sampling.cpp."""
    (n_prompt, prompt_ms), (n_gen, gen_ms) = prompt, generated
    lines = [f"       load time = {321.48:10.2f} ms"]
    for kind, n, unit, time in (
        ("prompt eval", n_prompt, "tokens", prompt_ms),
        ("       eval", n_gen, "runs  ", gen_ms),
    ):
        each = f"{time / n:8.2f} ms per token, {1e3 / time * n:8.2f} tokens per second"
        lines.append(f"{kind} time = {time:10.2f} ms / {n:5d} {unit} ({each})")
    lines.append(f"      total time = {prompt_ms + gen_ms:10.2f} ms / {n_prompt + n_gen:5d} tokens")
    return "".join(f"{prefix}{line}\n" for line in lines)


@FUZZ
@given(st.lists(st.tuples(st.sampled_from(PREFIXES), timed, timed), min_size=1, max_size=2), st.data())
def test_fuzzed_timings(runs: list[tuple[str, tuple[int, float], tuple[int, float]]], data: st.DataObject) -> None:
    whole = "Hello\n" + "".join(timings(*run) for run in runs)
    text = damaged(whole, data, 3, [cut, mixed, lost, altered, twice, returned])
    try:
        record = parse_completion(text)
    except NoNumber:
        assert text != whole
        return
    # A damaged digit of a rate passes where the time, printed with two decimals, cannot contradict it.
    assert any(
        (record.prompt_tokens, record.generated_tokens) == (n, m)
        and record.prompt_tps == pytest.approx(1e3 * n / prompt_ms, abs=0.011, rel=1e-3 + 0.006 / prompt_ms)
        and record.generated_tps == pytest.approx(1e3 * m / gen_ms, abs=0.011, rel=1e-3 + 0.006 / gen_ms)
        for _, (n, prompt_ms), (m, gen_ms) in runs
    )
