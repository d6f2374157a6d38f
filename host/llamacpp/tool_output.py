"""What llama.cpp's tools print -> typed records. A right number or an error: where a tool prints a number twice (a
rate, and the tokens and the time that it comes from), the two must agree.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smoothdroid.host.llamacpp.settings import known_keys


class NoNumber(Exception):
    """The output holds no measurement where one must be."""


class BenchRecord(BaseModel):
    """One test of `llama-bench -o jsonl`; field names are llama-bench's own. Every setting of the table is kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    build_commit: str
    cpu_info: str
    model_type: str
    model_size: int
    """Bytes of the weights."""
    model_n_params: int
    n_batch: int
    n_ubatch: int
    n_threads: int = Field(ge=1)
    n_prompt: int
    n_gen: int
    n_depth: int = 0
    # What was asked for, not what was used: see host/llamacpp/kernel_log.py. None: this llama-bench does not report it.
    backends: str | None = None
    """Those that are there: CPU, or OpenCL."""
    cpu_mask: str | None = None
    cpu_strict: bool | None = None
    poll: int | None = None
    type_k: str | None = None
    """Of the KV cache's keys."""
    type_v: str | None = None
    flash_attn: bool | int | None = None
    """-1: llama.cpp decides. Older versions say true or false."""
    repack: bool | None = None
    load_mode: str | None = None
    """auto, mmap or none."""
    use_mmap: bool | None = None
    """What older versions say instead."""
    samples_ns: list[int] = Field(min_length=1)
    samples_ts: list[float] = Field(min_length=1)
    """Tokens per second, one value a repetition."""

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, record: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
        if not isinstance(record, dict):
            return record
        return {key: value for key, value in record.items() if key in cls.model_fields} | known_keys(record)


RATE_DIGITS = 1e-5  # llama-bench prints rates with six significant digits
HALF = 0.00501  # the error of a number with two digits behind the point, and what binary fractions add


def parse_bench(stdout: str) -> list[BenchRecord]:
    """The records of `llama-bench -o jsonl`, among whatever log lines stand around them.

    Raises NoNumber when there is none, or one is torn, lacks a field, or holds a rate that is not positive and finite
    or does not follow from its tokens and its time.
    """
    records = []
    for line in stdout.split("\n"):
        if not line.startswith("{"):
            if '"samples_ts"' in line or '"samples_ns"' in line:
                raise NoNumber(f"a record of llama-bench is mixed with other output: {line[:200]}")
            continue
        try:
            record = BenchRecord.model_validate(json.loads(line), strict=True)
        except json.JSONDecodeError as error:
            raise NoNumber(
                f"llama-bench's record cannot be read, it is torn: {error}. Is the phone's storage full? Else the tool "
                f"is broken: build it again. The record is {line[:200]}"
            ) from error
        except (ValueError, RecursionError) as error:  # JSON's and pydantic's errors are ValueErrors
            raise NoNumber(f"llama-bench's record cannot be read: {error}; it is {line[:200]}") from error
        _check(record)
        records.append(record)
    if not records:
        raise NoNumber(f"llama-bench printed no record; its last words: {stdout.strip()[-300:] or 'none'}")
    return records


def _check(record: BenchRecord) -> None:
    """Raises NoNumber when the rates are none, or do not follow from the times."""
    if not all(0 < rate < float("inf") for rate in record.samples_ts):
        raise NoNumber(f"llama-bench reports the rates {record.samples_ts}")
    tokens = record.n_prompt + record.n_gen
    expected = [1e9 * tokens / ns if ns > 0 else 0.0 for ns in record.samples_ns]
    alike = (abs(rate - value) <= RATE_DIGITS * value for rate, value in zip(record.samples_ts, expected, strict=False))
    if len(expected) != len(record.samples_ts) or not all(alike):
        raise NoNumber(
            f"llama-bench contradicts itself: {tokens} tokens in {record.samples_ns} ns are not "
            f"{record.samples_ts} tokens/s"
        )


class BenchRow(BaseModel):
    """One row of the table that `llama-bench` prints for people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    backend: str
    n_threads: int | None
    """None where the table has no such column: the default was used, and is not told."""
    n_prompt: int
    n_gen: int
    n_depth: int
    tokens_per_s: float
    """The mean over repetitions."""
    deviation: float
    """Their standard deviation."""


_TEST = re.compile(r"(?:pp ?(\d{1,9}))?\+?(?:tg ?(\d{1,9}))?(?: @ d(\d{1,9}))?", re.ASCII)
_MEAN = re.compile(r"(\d{1,12}\.\d\d) ± (\d{1,12}\.\d\d)", re.ASCII)


def parse_bench_table(stdout: str) -> list[BenchRow]:
    """The rows of `llama-bench -o md`, its default, among log lines; columns come and go from version to version.

    A table holds each number once. What can be checked is its form: a cell is as wide as its heading, so a character
    lost or gained shows. Raises NoNumber when there is no row, or one is torn or holds no rate.
    """
    heading: list[str] = []
    rows = []
    for line in stdout.replace("\r\n", "\n").split("\n"):
        if not line.startswith("|"):
            if "±" in line:
                raise NoNumber(f"a row of llama-bench's table is mixed with other output: {line[:200]}")
            continue
        cells = line.split("|")
        if "t/s" in line:
            heading = cells
        elif not re.fullmatch(r"[|\- :]+", line):
            rows.append(_row(heading, cells, line))
    if not rows:
        raise NoNumber(f"llama-bench printed no row; its last words: {stdout.strip()[-300:] or 'none'}")
    return rows


def _row(heading: list[str], cells: list[str], line: str) -> BenchRow:
    if len(cells) != len(heading) or cells[-1].strip():
        raise NoNumber(f"a row of llama-bench's table is torn: {line[:200]}")
    for head, cell in zip(heading, cells, strict=True):
        # printf counts bytes, and knows of the two of "±"; what is too long for its column has a space on either side.
        width = len(cell.encode()) - cell.count("±")
        if width != len(head) and not (width > len(head) and cell == f" {cell.strip()} "):
            raise NoNumber(f"a row of llama-bench's table is torn at `{cell.strip()}`: {line[:200]}")
    told = {head.strip(): cell.strip() for head, cell in zip(heading, cells, strict=True)}
    test, rate = _TEST.fullmatch(told.get("test", "")), _MEAN.fullmatch(told["t/s"]) if "t/s" in told else None
    threads = told.get("threads", told.get("n_threads"))
    if not test or not any(test.groups()) or not rate or float(rate[1]) == 0:
        raise NoNumber(f"a row of llama-bench's table holds no test and rate: {line[:200]}")
    if "model" not in told or "backend" not in told or (threads and not re.fullmatch(r"[1-9]\d{0,5}", threads)):
        raise NoNumber(f"a row of llama-bench's table does not say what it measured: {line[:200]}")
    return BenchRow(
        model=told["model"],
        backend=told["backend"],
        n_threads=int(threads) if threads else None,
        n_prompt=int(test[1] or 0),
        n_gen=int(test[2] or 0),
        n_depth=int(test[3] or 0),
        tokens_per_s=float(rate[1]),
        deviation=float(rate[2]),
    )


class CompletionRecord(BaseModel):
    """The timings of one prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_tokens: int
    prompt_tps: float
    """Prefill, tokens per second."""
    generated_tokens: int
    generated_tps: float
    """Decode, tokens per second."""


# Three generations of the same lines: `llama_print_timings:`, `llama_perf_context_print:` and
# `common_perf_print:`, the last also behind a time ("0.08.700.664 I common_perf_print:").
_TIMING = re.compile(
    r"(llama_print_timings|llama_perf_context_print|common_perf_print): *(prompt eval|eval) time += (.*)$",
    re.MULTILINE,
)
_RATE = re.compile(
    r" *(\d+\.\d\d) ms / *([1-9]\d{0,8}) (tokens|runs) *"
    r"\( *(\d+\.\d\d) ms per token, *(\d+\.\d\d) tokens per second\)\s*",
    re.ASCII,
)
_COUNTED = {"prompt eval": "tokens", "eval": "runs"}


def parse_completion(log: str) -> CompletionRecord:
    """The timing lines of llama-completion (or an older llama-cli), wherever in its log they stand; the last count.

    Raises NoNumber when a line is missing or torn, when its rate is none ("inf", nothing generated), or when it does
    not follow from the tokens and the time beside it.
    """
    lines = list(_TIMING.finditer(log))[-2:]
    if (
        [line[2] for line in lines] != ["prompt eval", "eval"]
        or lines[0][1] != lines[1][1]
        # One follows the other. With another time in between they are of two runs, whose lines between are torn.
        or " time " in log[lines[0].end() : lines[1].start()]
    ):
        missing = "eval time" if lines and lines[-1][2] == "prompt eval" else "prompt eval time"
        raise NoNumber(f"the log has no usable `{missing}` line; its last words: {log.strip()[-300:] or 'none'}")
    (prompt_tokens, prompt_tps), (generated_tokens, generated_tps) = (_timing(line[2], line[3]) for line in lines)
    return CompletionRecord(
        prompt_tokens=prompt_tokens,
        prompt_tps=prompt_tps,
        generated_tokens=generated_tokens,
        generated_tps=generated_tps,
    )


def _timing(kind: str, said: str) -> tuple[int, float]:
    """Tokens, and tokens per second."""
    match = _RATE.fullmatch(said)
    if not match or match[3] != _COUNTED[kind] or not float(match[5]):
        raise NoNumber(f"the log has no usable `{kind} time` line; it says: {said[:200]}")
    ms, tokens, ms_per_token, rate = float(match[1]), int(match[2]), float(match[4]), float(match[5])
    # Every number is rounded to two digits behind the point.
    slowest, fastest = 1e3 * tokens / (ms + HALF), 1e3 * tokens / max(ms - HALF, 1e-9)
    if not slowest - HALF <= rate <= fastest + HALF or not abs(ms_per_token - ms / tokens) <= 2 * HALF:
        raise NoNumber(f"the log contradicts itself in its `{kind} time` line: {said[:200]}")
    return tokens, rate


class ChatRecord(BaseModel):
    """What the interactive llama-cli (since about b8999) says below an answer; it counts no tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_tps: float
    generated_tps: float


_CHAT = re.compile(r"\[ Prompt: (\d{1,9}\.\d) t/s \| Generation: (\d{1,9}\.\d) t/s \]", re.ASCII)


def parse_chat(stdout: str) -> ChatRecord:
    """`[ Prompt: 216.8 t/s | Generation: 29.6 t/s ]`, the last, whatever is glued to it.

    It says each number once, with one digit behind the point. Raises NoNumber when it is missing, torn or none.
    """
    last = stdout.rfind("[ Prompt:")
    match = _CHAT.match(stdout, last) if last >= 0 else None
    if not match:
        raise NoNumber(
            f"the answer has no usable `[ Prompt: ... ]` line; its end is {stdout.strip()[-300:] or 'empty'}"
        )
    record = ChatRecord(prompt_tps=float(match[1]), generated_tps=float(match[2]))
    if not record.prompt_tps or not record.generated_tps:
        raise NoNumber(f"the answer's last line tells of rates that are none: {match[0]}")
    return record
