"""Parse what llama-bench and llama-completion print into typed records.

A parser returns right numbers or raises: where a tool prints a number twice (a rate, and the tokens and the time that
it follows from), the two must agree.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smoothdroid.host.llamacpp.settings import known_keys


class NoNumber(Exception):
    """The output lacks a measurement, or holds one that cannot be right."""


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
    # The request, not what was used, which kernel_log.py reads. None: this version does not report it.
    backends: str | None = None
    """The available backends: CPU, OpenCL."""
    cpu_mask: str | None = None
    cpu_strict: bool | None = None
    poll: int | None = None
    type_k: str | None = None
    """The type of the KV cache's keys."""
    type_v: str | None = None
    flash_attn: bool | int | None = None
    """1, 0, or -1 where llama.cpp decides. Older versions report true or false."""
    repack: bool | None = None
    load_mode: str | None = None
    """auto, mmap or none."""
    use_mmap: bool | None = None
    """The load mode as older versions report it."""
    samples_ns: list[int] = Field(min_length=1)
    samples_ts: list[float] = Field(min_length=1)
    """Tokens per second, one value for each repetition."""

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, record: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
        if not isinstance(record, dict):
            return record
        return {key: value for key, value in record.items() if key in cls.model_fields} | known_keys(record)


RATE_DIGITS = 1e-5  # llama-bench prints rates with six significant digits
HALF = 0.00501  # the rounding error of a number with two decimals, and of its binary fraction


def parse_bench(stdout: str) -> list[BenchRecord]:
    """Return the records of `llama-bench -o jsonl`; log lines around them are ignored.

    Raises NoNumber when there is no record, or one is torn, lacks a field, or holds a rate that is not positive and
    finite or does not follow from its tokens and its time.
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
        raise NoNumber(f"llama-bench printed no record; its output ends: {stdout.strip()[-300:] or 'nothing'}")
    return records


def _check(record: BenchRecord) -> None:
    """Raise NoNumber when a rate is not positive and finite, or does not follow from its time."""
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


class CompletionRecord(BaseModel):
    """The timings of one prompt and its answer."""

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
    """Return the last timings in a log of llama-completion, or of an older llama-cli.

    Raises NoNumber when a timing line is missing or torn, when its rate is infinite because nothing was generated, or
    when the rate does not follow from the tokens and the time in the same line.
    """
    lines = list(_TIMING.finditer(log))[-2:]
    if (
        [line[2] for line in lines] != ["prompt eval", "eval"]
        or lines[0][1] != lines[1][1]
        # The two lines are adjacent. With another time between them they belong to two runs, with torn lines between.
        or " time " in log[lines[0].end() : lines[1].start()]
    ):
        missing = "eval time" if lines and lines[-1][2] == "prompt eval" else "prompt eval time"
        raise NoNumber(f"the log has no usable `{missing}` line; the log ends: {log.strip()[-300:] or 'nothing'}")
    (prompt_tokens, prompt_tps), (generated_tokens, generated_tps) = (_timing(line[2], line[3]) for line in lines)
    return CompletionRecord(
        prompt_tokens=prompt_tokens,
        prompt_tps=prompt_tps,
        generated_tokens=generated_tokens,
        generated_tps=generated_tps,
    )


def _timing(kind: str, text: str) -> tuple[int, float]:
    """Return the tokens, and the tokens per second, of a timing line."""
    match = _RATE.fullmatch(text)
    if not match or match[3] != _COUNTED[kind] or not float(match[5]):
        raise NoNumber(f"the log has no usable `{kind} time` line: {text[:200]}")
    ms, tokens, ms_per_token, rate = float(match[1]), int(match[2]), float(match[4]), float(match[5])
    # Every number is rounded to two decimals.
    slowest, fastest = 1e3 * tokens / (ms + HALF), 1e3 * tokens / max(ms - HALF, 1e-9)
    if not slowest - HALF <= rate <= fastest + HALF or not abs(ms_per_token - ms / tokens) <= 2 * HALF:
        raise NoNumber(f"the log contradicts itself in its `{kind} time` line: {text[:200]}")
    return tokens, rate
