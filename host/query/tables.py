"""The tables of a query: campaigns, cells and runs, each column with its type and meaning, and their rows."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smoothdroid.device.telemetry.conditions import Conditions
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp.settings import SETTINGS, Setting
from smoothdroid.host.report.data.rows import CellRow, evaluate_campaign, interval_facts
from smoothdroid.host.results.record import Campaign, Run, conditions

Facts = dict[str, Any]
"""The values of a row, by column."""


@dataclass(frozen=True)
class QueryColumn:
    """A column of a table."""

    name: str
    kind: str
    """The type in DuckDB."""
    says: str
    """The meaning, for `smoothdroid query --tables`."""


@dataclass(frozen=True)
class QueryTable:
    """A table that queries can read."""

    name: str
    says: str
    columns: tuple[QueryColumn, ...]
    shared: tuple[QueryColumn, ...] = ()
    """Columns of `campaigns` that are shown here too, because most queries group by them."""

    @property
    def shown(self) -> tuple[QueryColumn, ...]:
        """The columns that a query can read."""
        return (*self.shared, *self.columns)


def _columns(*rows: tuple[str, str, str]) -> tuple[QueryColumn, ...]:
    return tuple(QueryColumn(*row) for row in rows)


_CELL = _columns(
    ("fingerprint", "VARCHAR", "the measurement's identity: phone, transport, build, model and settings"),
    ("model", "VARCHAR", "the file's name"),
    ("test", "VARCHAR", "pp512, tg128, `tg128 for 10 min`, a prompt's first words"),
    ("n_threads", "INTEGER", "requested number of threads"),
    ("cpus", "VARCHAR", "CPU mask by name: big, big+mid, 0-3; `any` without a mask"),
)

CAMPAIGNS = QueryTable(
    "campaigns",
    "a plan measured on a phone, with one results folder",
    _columns(
        ("campaign", "VARCHAR", "its folder: joins cells and runs"),
        ("started_at", "TIMESTAMP", "start, in UTC"),
        ("phone", "VARCHAR", "maker and model"),
        ("phone_id", "VARCHAR", "a hash of its serial number"),
        ("soc", "VARCHAR", "as the phone calls it"),
        ("transport", "VARCHAR", "adb, ssh or local"),
        ("emulated", "BOOLEAN", "whether the phone is emulated: its tokens/s are not the speed of a phone"),
        ("android", "VARCHAR", "version; empty without Android"),
        ("kernel", "VARCHAR", "version"),
        ("memory_mb", "INTEGER", "the phone's memory in MiB"),
        ("build_id", "VARCHAR", "build of the llama.cpp binaries"),
        ("build_isa", "VARCHAR", "ISA level of the build"),
        ("build_commit", "VARCHAR", "commit of llama.cpp"),
        ("smoothdroid", "VARCHAR", "version"),
        ("seed", "INTEGER", "seed of the order of cells in a round"),
    ),
)


def _meaning(setting: Setting) -> str:
    return setting.meaning if setting.default is not None else f"{setting.meaning}; NULL: llama.cpp's default"


def _of_campaign(*names: str) -> tuple[QueryColumn, ...]:
    return tuple(column for column in CAMPAIGNS.columns if column.name in names)


CELLS = QueryTable(
    "cells",
    "one setting of a campaign, as `smoothdroid report` shows it",
    (
        *_CELL,
        *_columns(
            ("n_prompt", "INTEGER", "tokens of prefill; 0: decode"),
            ("n_gen", "INTEGER", "tokens of decode; 0: prefill"),
            ("sustained_s", "INTEGER", "duration of a sustained test in seconds; 0: a burst"),
            ("settings", "VARCHAR", "settings that differ from llama.cpp's defaults: `cache k q8_0`"),
            *((setting.column, "VARCHAR" if setting.choices else "INTEGER", _meaning(setting)) for setting in SETTINGS),
            ("model_sha256", "VARCHAR", "hash of the model file"),
            ("model_size", "BIGINT", "size of the model file in bytes"),
            ("model_n_params", "BIGINT", "number of parameters"),
            ("bits_per_weight", "DOUBLE", "mean over the model's tensors"),
            ("verdict", "VARCHAR", "`valid`, or the checks that rejected it; NULL: there is no number"),
            ("tokens_per_s", "DOUBLE", "mean over the processes; NULL unless the verdict is `valid`"),
            (
                "tokens_per_s_low",
                "DOUBLE",
                "lower end of the mean's 95 % interval over processes; NULL with one process",
            ),
            ("tokens_per_s_high", "DOUBLE", "upper end of it"),
            ("tokens_per_s_median", "DOUBLE", "median of the repetitions"),
            ("rejected_tokens_per_s", "DOUBLE", "mean where the verdict is not `valid`: kept separate"),
            ("unbelieved_tokens_per_s", "DOUBLE", "earlier name of `rejected_tokens_per_s`, for one release"),
            ("processes", "INTEGER", "number of processes behind the number, valid or not"),
            ("repetitions", "INTEGER", "number of repetitions in all of these processes"),
            ("first_token_s", "DOUBLE", "seconds from the loaded model to the first token of the answer to a prompt"),
            ("first_token_s_low", "DOUBLE", "lower end of its 95 % interval over processes; NULL with one process"),
            ("first_token_s_high", "DOUBLE", "upper end of it"),
            ("joules_per_token", "DOUBLE", "energy of the whole phone per token, on battery"),
            ("joules_per_token_low", "DOUBLE", "lower end of its 95 % interval over processes; NULL with one process"),
            ("joules_per_token_high", "DOUBLE", "upper end of it"),
            ("kernels", "VARCHAR", "layout of the weights in memory"),
            ("remark", "VARCHAR", "findings of the checks, or the reason why there is no number"),
        ),
    ),
    _of_campaign("campaign", "phone", "soc", "transport", "emulated", "build_isa"),
)

RUNS = QueryTable(
    "runs",
    "one process of a cell, measured or failed",
    (
        *_CELL,
        *_columns(
            ("round", "INTEGER", "number of the round, from 0; cells are interleaved in each"),
            ("attempt", "INTEGER", "number of the attempt; more than 1: the phone or its runner stopped before"),
            ("started_at", "TIMESTAMP", "start, in UTC"),
            ("wall_s", "DOUBLE", "duration in seconds, with loading and warm-up"),
            ("failure", "VARCHAR", "reason why there is no measurement; otherwise NULL"),
            ("counted", "BOOLEAN", "whether its repetitions are in the cell's numbers"),
            ("samples_ts", "DOUBLE[]", "tokens/s of each repetition (llama-bench's name)"),
            ("tokens_per_s", "DOUBLE", "their mean; NULL unless it counted"),
            ("waited_s", "DOUBLE", "seconds of waiting for a cooler phone before it"),
            ("celsius_max", "DOUBLE", "highest temperature of any thermal zone during it"),
            ("battery_celsius_max", "DOUBLE", "highest temperature of the battery"),
            ("rss_peak_mb", "DOUBLE", "peak RSS of the benchmark in MiB"),
            ("pss_peak_mb", "DOUBLE", "peak PSS: shared pages count in part"),
            ("runner_cpu_s", "DOUBLE", "CPU time of the runner's own measuring"),
        ),
    ),
    _of_campaign("campaign", "phone", "soc", "transport", "emulated"),
)

TABLES = (CAMPAIGNS, CELLS, RUNS)


def rows_of(folder: Path) -> dict[str, list[Facts]]:
    """Return the rows of each table, by its name, of the campaign in `folder`. Raises BadInput when it is damaged."""
    evaluated = evaluate_campaign(folder)
    campaign = evaluated.campaign
    where = campaign.phone.id, campaign.transport, campaign.build_id
    named = {row.judged.cell.fingerprint(*where): row for row in evaluated.rows}
    counted = {id(run) for row in evaluated.rows for run in row.judged.counted}
    models = {model.sha256: model for model in campaign.plan.models}
    return {
        CAMPAIGNS.name: [_campaign_facts(folder, campaign)],
        CELLS.name: [_cell_facts(name, row, models[row.judged.cell.model_sha256]) for name, row in named.items()],
        RUNS.name: [
            _run_facts(run, named[run.fingerprint], conditions(folder, run), id(run) in counted)
            for run in evaluated.runs
            if run.fingerprint in named
        ],
    }


def _campaign_facts(folder: Path, campaign: Campaign) -> Facts:
    phone = campaign.phone
    return {
        "campaign": str(folder),
        "started_at": _utc(campaign.started_at),
        "phone": phone.model,
        "phone_id": phone.id,
        "soc": phone.soc,
        "transport": campaign.transport,
        "emulated": phone.emulated,
        "android": phone.android,
        "kernel": phone.kernel,
        "memory_mb": phone.memory_mb,
        "build_id": campaign.build_id,
        "build_isa": campaign.build_isa,
        "build_commit": campaign.build_commit,
        "smoothdroid": campaign.smoothdroid,
        "seed": campaign.plan.protocol.seed,
    }


def _named(name: str, row: CellRow) -> Facts:
    """Return the columns that identify a cell."""
    return {"fingerprint": name, "model": row.model, "test": row.test, "n_threads": row.threads, "cpus": row.cpus}


def _cell_facts(name: str, row: CellRow, model: Artifact) -> Facts:
    cell, rate, options = row.judged.cell, row.tokens_per_s, row.judged.cell.options
    valid = rate if row.valid else None
    rejected = None if valid else rate and rate.mean
    return {
        **_named(name, row),
        "n_prompt": cell.test.n_prompt,
        "n_gen": cell.test.n_gen,
        "sustained_s": cell.test.sustained_s,
        "settings": row.settings,
        **{setting.column: getattr(options, setting.name) for setting in SETTINGS},
        "model_sha256": model.sha256,
        "model_size": model.size_bytes,
        "model_n_params": model.parameters,
        "bits_per_weight": model.bits_per_weight,
        "verdict": row.verdict if rate else None,
        **interval_facts("tokens_per_s", valid),
        "tokens_per_s_median": valid and statistics.median(row.judged.rates),
        "rejected_tokens_per_s": rejected,
        "unbelieved_tokens_per_s": rejected,
        "processes": len(row.judged.runs),
        "repetitions": len(row.judged.rates),
        **interval_facts("first_token_s", row.first_token_s if valid else None),
        **interval_facts("joules_per_token", row.judged.joules_per_token),
        "kernels": row.kernels,
        "remark": row.remark,
    }


def _run_facts(run: Run, row: CellRow, seen: Conditions | None, counted: bool) -> Facts:
    battery = seen and seen.battery_celsius
    zones = [zone.highest for zone in seen.celsius.values()] if seen else []
    return {
        **_named(run.fingerprint, row),
        "round": run.round,
        "attempt": run.attempt,
        "started_at": _utc(run.started_at),
        "wall_s": run.wall_s,
        "failure": run.failure,
        "counted": counted,
        "samples_ts": run.tokens_per_s,
        "tokens_per_s": statistics.fmean(run.tokens_per_s) if counted else None,
        "waited_s": run.waited and run.waited.seconds,
        "celsius_max": max(zones, default=None),
        "battery_celsius_max": battery and battery.highest,
        "rss_peak_mb": seen and seen.rss_peak_mb,
        "pss_peak_mb": seen and seen.pss_peak_mb,
        "runner_cpu_s": run.runner_cpu_s,
    }


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
