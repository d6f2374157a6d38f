"""The output of llama-bench and llama-completion -> typed records. A number that is not there is an error."""

from __future__ import annotations

import json
import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class NoNumber(Exception):
    """The output holds no measurement where one must be."""


class BenchRecord(BaseModel):
    """One test of `llama-bench -o jsonl`; field names are llama-bench's own."""

    model_config = ConfigDict(extra="ignore", frozen=True)

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
    samples_ns: list[int] = Field(min_length=1)
    samples_ts: list[float] = Field(min_length=1)
    """Tokens per second, one value a repetition."""


def parse_bench(stdout: str) -> list[BenchRecord]:
    """The records of `llama-bench -o jsonl`, among whatever log lines stand around them.

    Raises NoNumber when there is none, or one lacks a field or holds a rate that is not positive and finite.
    """
    records = []
    for line in stdout.splitlines():
        if not line.startswith("{"):
            continue
        try:
            record = BenchRecord.model_validate(json.loads(line))
        except (json.JSONDecodeError, ValidationError) as error:
            raise NoNumber(f"llama-bench's record cannot be read: {error}; it is {line[:200]}") from error
        if not all(0 < rate < float("inf") for rate in record.samples_ts):
            raise NoNumber(f"llama-bench reports the rates {record.samples_ts}")
        records.append(record)
    if not records:
        raise NoNumber(f"llama-bench printed no record; its last words: {stdout.strip()[-300:] or 'none'}")
    return records


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
_TIMING = r"(?:llama_print_timings|llama_perf_context_print|common_perf_print):\s*"
_RATE = r"=\s*[\d.]+ ms /\s*(\d+) (?:tokens|runs)\s*\(\s*[\d.]+ ms per token,\s*([\d.]+) tokens per second\)"


def parse_completion(log: str) -> CompletionRecord:
    """The timing lines of llama-completion (or an older llama-cli), wherever in its log they stand.

    Raises NoNumber when a line is missing or its rate is not a number ("inf", nothing generated).
    """
    prompt = re.findall(_TIMING + r"prompt eval time " + _RATE, log)
    generated = re.findall(_TIMING + r"\s*eval time\s+" + _RATE, log)
    if not prompt or not generated:
        missing = "prompt eval time" if not prompt else "eval time"
        raise NoNumber(f"the log has no usable `{missing}` line; its last words: {log.strip()[-300:] or 'none'}")
    record = CompletionRecord(
        prompt_tokens=int(prompt[-1][0]),
        prompt_tps=float(prompt[-1][1]),
        generated_tokens=int(generated[-1][0]),
        generated_tps=float(generated[-1][1]),
    )
    if record.prompt_tps <= 0 or record.generated_tps <= 0:
        raise NoNumber(f"the log tells of rates that are none: {record}")
    return record
