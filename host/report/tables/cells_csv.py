"""The CSV file of cells: llama-bench's columns under its names, then smoothdroid's own."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Iterator

from smoothdroid.host.llamacpp.settings import SETTINGS
from smoothdroid.host.report.data.rows import CellRow, EvaluatedCampaign, interval_facts
from smoothdroid.host.report.data.safe_text import csv_cell

# llama-bench's names and order (tools/llama-bench/llama-bench.cpp, get_fields), as far as its record is kept.
_IN_ORDER = (
    "build_commit",
    "cpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "type_k",
    "type_v",
    "flash_attn",
    "load_mode",
    "repack",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
)
LLAMA_BENCH = tuple(dict.fromkeys((*_IN_ORDER, *(setting.key for setting in SETTINGS))))
OURS = (
    "phone",
    "soc",
    "transport",
    "emulated",
    "campaign",
    "fingerprint",
    "test",
    "cpus",
    "sustained_s",
    "processes",
    "repetitions",
    "low_ts",
    "high_ts",
    "first_token_s",
    "first_token_s_low",
    "first_token_s_high",
    "joules_per_token",
    "joules_per_token_low",
    "joules_per_token_high",
    "verdict",
    "remark",
    "model_sha256",
    "build_isa",
)


def cells(campaigns: Iterable[EvaluatedCampaign]) -> str:
    """Return a line for each cell, measured or not; rejected numbers are marked by their verdict."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*LLAMA_BENCH, *OURS], lineterminator="\n")
    writer.writeheader()
    for evaluated in campaigns:
        for row in evaluated.rows:
            writer.writerow({name: _text(value) for name, value in _facts(evaluated, row)})
    return file.getvalue()


def _facts(evaluated: EvaluatedCampaign, row: CellRow) -> Iterator[tuple[str, object]]:
    campaign, cell, rate = evaluated.campaign, row.judged.cell, row.tokens_per_s
    model = next(model for model in campaign.plan.models if model.sha256 == cell.model_sha256)
    run = row.judged.runs[0] if row.judged.runs else None
    yield from ((setting.key, setting.in_record(value)) for setting, value in cell.options.changed())
    if run and run.bench:
        yield from ((name, value) for name, value in run.bench.model_dump().items() if name in LLAMA_BENCH)
        ns = [ns for each in row.judged.runs if each.bench for ns in each.bench.samples_ns]
        yield from (("avg_ns", round(statistics.fmean(ns))), ("stddev_ns", round(_spread(ns))))
    yield from (
        ("build_commit", campaign.build_commit),
        ("model_filename", str(model.path)),
        ("model_n_params", model.parameters),
        ("n_threads", row.threads),
        ("n_prompt", cell.test.n_prompt),
        ("n_gen", cell.test.n_gen),
        ("n_depth", cell.options.depth),
    )
    if run and rate:
        yield from (("test_time", run.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")), ("avg_ts", rate.mean))
        yield from (("stddev_ts", _spread(row.judged.rates)), ("low_ts", rate.low), ("high_ts", rate.high))
        yield "fingerprint", run.fingerprint
    yield from (
        ("phone", campaign.phone.model),
        ("soc", campaign.phone.soc),
        ("transport", campaign.transport),
        ("emulated", campaign.phone.emulated),
        ("campaign", campaign.id),
        ("test", row.test),
        ("cpus", row.cpus),
        ("sustained_s", cell.test.sustained_s),
        ("processes", len(row.judged.runs)),
        ("repetitions", len(row.judged.rates)),
        *interval_facts("first_token_s", row.first_token_s).items(),
        *interval_facts("joules_per_token", row.judged.joules_per_token).items(),
        ("verdict", row.verdict),
        ("remark", row.remark),
        ("model_sha256", cell.model_sha256),
        ("build_isa", campaign.build_isa),
    )


def _spread(values: Iterable[float]) -> float:
    known = list(values)
    return statistics.stdev(known) if len(known) > 1 else 0.0  # as in llama-bench


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return (
        f"{value:.6g}" if isinstance(value, float) else csv_cell(str(value)) if isinstance(value, str) else str(value)
    )
