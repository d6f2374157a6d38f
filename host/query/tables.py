"""What can be asked: three tables, each column with its type and what it says, and a campaign's rows of each."""

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
"""Of one row: column -> value."""


@dataclass(frozen=True)
class Column:
    """One of a table."""

    name: str
    kind: str
    """DuckDB's type."""
    says: str


@dataclass(frozen=True)
class Table:
    """Rows of one kind."""

    name: str
    says: str
    columns: tuple[Column, ...]
    shared: tuple[Column, ...] = ()
    """Of `campaigns`, and shown here too: by them most questions are grouped."""

    @property
    def shown(self) -> tuple[Column, ...]:
        """All that can be asked for."""
        return (*self.shared, *self.columns)


def _columns(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


_CELL = _columns(
    ("fingerprint", "VARCHAR", "the measurement's identity: phone, transport, build, model and settings"),
    ("model", "VARCHAR", "the file's name"),
    ("test", "VARCHAR", "pp512, tg128, `tg128 for 10 min`, a prompt's first words"),
    ("n_threads", "INTEGER", "as asked for"),
    ("cpus", "VARCHAR", "the mask by its name: big, big+mid, 0-3; `any` for none"),
)

CAMPAIGNS = Table(
    "campaigns",
    "a plan on a phone: a results folder",
    _columns(
        ("campaign", "VARCHAR", "its folder: what cells and runs are joined by"),
        ("started_at", "TIMESTAMP", "when it was asked for, in UTC"),
        ("phone", "VARCHAR", "maker and model"),
        ("phone_id", "VARCHAR", "a hash of its serial number"),
        ("soc", "VARCHAR", "as the phone calls it"),
        ("transport", "VARCHAR", "adb, ssh or local"),
        ("emulated", "BOOLEAN", "then its tokens/s say nothing of a phone's speed"),
        ("android", "VARCHAR", "version; empty where there is none"),
        ("kernel", "VARCHAR", "version"),
        ("memory_mb", "INTEGER", "of the phone, in MiB"),
        ("build_id", "VARCHAR", "of the llama.cpp binaries"),
        ("build_isa", "VARCHAR", "their ISA level"),
        ("build_commit", "VARCHAR", "llama.cpp's"),
        ("smoothdroid", "VARCHAR", "version"),
        ("seed", "INTEGER", "of the order in which cells took turns"),
    ),
)


def _meaning(setting: Setting) -> str:
    return setting.meaning if setting.default is not None else f"{setting.meaning}; NULL: llama.cpp's default"


def _of_its_campaign(*names: str) -> tuple[Column, ...]:
    return tuple(column for column in CAMPAIGNS.columns if column.name in names)


CELLS = Table(
    "cells",
    "one setting of a campaign, as `smoothdroid report` shows it",
    (
        *_CELL,
        *_columns(
            ("n_prompt", "INTEGER", "tokens of prefill; 0: decode"),
            ("n_gen", "INTEGER", "tokens of decode; 0: prefill"),
            ("sustained_s", "INTEGER", "how long it was kept up; 0: a burst"),
            ("settings", "VARCHAR", "what else differs from llama.cpp's default: `cache k q8_0`"),
            *((setting.column, "VARCHAR" if setting.choices else "INTEGER", _meaning(setting)) for setting in SETTINGS),
            ("model_sha256", "VARCHAR", "of the file"),
            ("model_size", "BIGINT", "of the file, in bytes"),
            ("model_n_params", "BIGINT", "its parameters"),
            ("bits_per_weight", "DOUBLE", "of its tensors"),
            ("verdict", "VARCHAR", "`valid`, or why it cannot be believed; NULL: there is no number"),
            ("tokens_per_s", "DOUBLE", "mean over the processes; NULL unless the verdict is `valid`"),
            ("tokens_per_s_low", "DOUBLE", "the mean's 95 % interval over processes; NULL with one process"),
            ("tokens_per_s_high", "DOUBLE", "its other end"),
            ("tokens_per_s_median", "DOUBLE", "of the repetitions"),
            ("unbelieved_tokens_per_s", "DOUBLE", "the mean where the verdict is not `valid`: kept apart"),
            ("processes", "INTEGER", "behind the number, valid or not"),
            ("repetitions", "INTEGER", "in all of these processes"),
            ("first_token_s", "DOUBLE", "of a prompt: from the loaded model to the answer's first token"),
            ("first_token_s_low", "DOUBLE", "its 95 % interval over processes; NULL with one process"),
            ("first_token_s_high", "DOUBLE", "its other end"),
            ("joules_per_token", "DOUBLE", "of the whole phone, on battery"),
            ("joules_per_token_low", "DOUBLE", "its 95 % interval over processes; NULL with one process"),
            ("joules_per_token_high", "DOUBLE", "its other end"),
            ("kernels", "VARCHAR", "what the weights were laid out for"),
            ("remark", "VARCHAR", "what was found, or why there is no number"),
        ),
    ),
    _of_its_campaign("campaign", "phone", "soc", "transport", "emulated", "build_isa"),
)

RUNS = Table(
    "runs",
    "one process of a cell, measured or failed",
    (
        *_CELL,
        *_columns(
            ("round", "INTEGER", "from 0; all cells take turns in each"),
            ("attempt", "INTEGER", "more than 1: the phone or its runner went down before"),
            ("started_at", "TIMESTAMP", "in UTC"),
            ("wall_s", "DOUBLE", "with loading and warm-up"),
            ("failure", "VARCHAR", "why there is no measurement; else NULL"),
            ("counted", "BOOLEAN", "whether its repetitions are in the cell's numbers"),
            ("samples_ts", "DOUBLE[]", "tokens/s of each repetition, as llama-bench calls it"),
            ("tokens_per_s", "DOUBLE", "their mean; NULL unless it counted"),
            ("waited_s", "DOUBLE", "for a cooler phone, before"),
            ("celsius_max", "DOUBLE", "of the hottest thermal zone meanwhile"),
            ("battery_celsius_max", "DOUBLE", "of the battery"),
            ("rss_peak_mb", "DOUBLE", "of the benchmark, in MiB"),
            ("pss_peak_mb", "DOUBLE", "without its share of what others hold too"),
            ("runner_cpu_s", "DOUBLE", "what measuring took of one core"),
        ),
    ),
    _of_its_campaign("campaign", "phone", "soc", "transport", "emulated"),
)

TABLES = (CAMPAIGNS, CELLS, RUNS)


def rows_of(folder: Path) -> dict[str, list[Facts]]:
    """Table -> the rows of the campaign in `folder`, judged by today's rules. Raises BadInput when it is damaged."""
    found = evaluate_campaign(folder)
    campaign = found.campaign
    where = campaign.phone.id, campaign.transport, campaign.build_id
    named = {row.judged.cell.fingerprint(*where): row for row in found.rows}
    counted = {id(run) for row in found.rows for run in row.judged.counted}
    models = {model.sha256: model for model in campaign.plan.models}
    return {
        CAMPAIGNS.name: [_campaign_facts(folder, campaign)],
        CELLS.name: [_cell_facts(name, row, models[row.judged.cell.model_sha256]) for name, row in named.items()],
        RUNS.name: [
            _run_facts(run, named[run.fingerprint], conditions(folder, run), id(run) in counted)
            for run in found.runs
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
    """What tells a cell from the others."""
    return {"fingerprint": name, "model": row.model, "test": row.test, "n_threads": row.threads, "cpus": row.cpus}


def _cell_facts(name: str, row: CellRow, model: Artifact) -> Facts:
    cell, rate, options = row.judged.cell, row.tokens_per_s, row.judged.cell.options
    believed = rate if row.valid else None
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
        **interval_facts("tokens_per_s", believed),
        "tokens_per_s_median": believed and statistics.median(row.judged.rates),
        "unbelieved_tokens_per_s": None if believed else rate and rate.mean,
        "processes": len(row.judged.runs),
        "repetitions": len(row.judged.rates),
        **interval_facts("first_token_s", row.first_token_s if believed else None),
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
