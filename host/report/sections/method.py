"""The section on how it was measured: versions, hashes, protocol, and the commands that measure it again."""

from __future__ import annotations

from collections.abc import Iterator

from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data import reproduce
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.rows import EvaluatedCampaign
from smoothdroid.host.report.sections.section import SectionContent, SectionTable, TableCell, facts_table
from smoothdroid.host.results.cpu_masks import ANY
from smoothdroid.host.results.record import Campaign

SENTENCES = (
    "An interval is Student's t over the means of processes. It holds for this phone, that day and that room.",
    "The commands below repeat the measurements, with the same files, build and phone. The record of an evaluation "
    "contains neither folders nor a phone: insert your own.",
)


def build(data: ReportData) -> SectionContent:
    """Build the tables of campaigns and evaluations, and the commands that reproduce them."""
    evaluations = [quality.evaluation for quality in data.evaluations]
    tables = [table for evaluated in data.campaigns for table in _campaign_tables(evaluated)]
    tables += map(_evaluation_table, evaluations)
    commands = [reproduce.bench(evaluated.campaign) for evaluated in data.campaigns]
    commands += map(reproduce.evaluate, evaluations)
    return SectionContent(SENTENCES, tables, commands, summary="versions, hashes, protocol")


def _campaign_tables(evaluated: EvaluatedCampaign) -> Iterator[SectionTable]:
    campaign = evaluated.campaign
    phone, plan = campaign.phone, campaign.plan
    system = f"Android {phone.android}, kernel {phone.kernel}" if phone.android else f"kernel {phone.kernel}"
    facts = {
        "started": f"{campaign.started_at:%Y-%m-%d %H:%M %Z}",
        "phone": f"{phone.model}, {phone.soc}, {system}, {phone.memory_mb} MiB; id {phone.id}",
        "CPUs": " + ".join(map(str, phone.clusters)),
        "transport": f"{campaign.transport} ({campaign.target})",
        "smoothdroid": campaign.smoothdroid,
        "llama.cpp": f"{campaign.build_commit}, build {campaign.build_id} ({campaign.build_isa})",
        "reason for this build": campaign.build_reason,
        **{f"{tool}, sha256": sha256 for tool, sha256 in campaign.build_tools.items()},
        "threads": ", ".join(map(str, plan.threads)),
        "tests": ", ".join(dict.fromkeys(test.name for test in plan.tests)),
        "CPU masks": ", ".join(dict.fromkeys(row.cpus for row in evaluated.rows)) or ANY,
        "protocol": _protocol(campaign),
    }
    yield facts_table(f"{evaluated.title}: campaign {campaign.id}", facts)
    heads = ("model", "sha256", "bytes", "bits per weight", "made from")
    rows = [
        [
            TableCell(model.name),
            TableCell(model.sha256),
            TableCell(str(model.size_bytes), value=model.size_bytes),
            TableCell(f"{model.bits_per_weight:.2f}", value=model.bits_per_weight),
            TableCell(_origin(model.manifest)),
        ]
        for model in plan.models
    ]
    yield SectionTable(f"Models of campaign {campaign.id}", heads, rows, frozenset({"bytes", "bits per weight"}))


def _protocol(campaign: Campaign) -> str:
    protocol = campaign.plan.protocol
    parts = [
        f"{protocol.rounds} processes per cell, in rounds",
        f"at least {protocol.repetitions} repetitions each, after a warm-up",
        f"seed {protocol.seed}",
    ]
    if protocol.until is not None:
        parts.append(f"more rounds until ±{protocol.until:.3g} of the mean, for at most {protocol.budget_s} s per cell")
    if cooling := protocol.cooling:
        limit = (
            f"{cooling.celsius:g} °C"
            if cooling.celsius is not None
            else f"{cooling.above_start or 0:g} °C above the start"
        )
        parts.append(f"cooled to {limit}, for at most {cooling.within_s} s")
    return ", ".join(parts)


def _origin(manifest: dict[str, object] | None) -> str:
    recipe = manifest.get("recipe") if manifest else None
    if not isinstance(recipe, dict):
        return "unknown: no manifest next to the file"
    source, smoothing = recipe.get("source"), recipe.get("smoothing")
    parts = [str(source.get("name")) if isinstance(source, dict) else "", str(recipe.get("quantisation") or "")]
    if isinstance(smoothing, dict):
        names = (name for name in ("alpha", "n_samples", "seq_len") if name in smoothing)
        parts += [f"{name.replace('_', ' ')} {smoothing[name]}" for name in names]
    return ", ".join(filter(None, parts))


def _evaluation_table(evaluation: Evaluation) -> SectionTable:
    models = (evaluation.reference, *(candidate.model for candidate in evaluation.candidates))
    facts = {
        "text": f"{evaluation.text}, sha256 {evaluation.text_sha256}",
        "windows": f"{evaluation.windows} of {evaluation.context} tokens; the second half of each is predicted",
        "kernels": f"{evaluation.kernels} ({evaluation.kernels_id})",
        "reference's kernels": evaluation.reference_kernels or "",
        **{f"{model.name}, sha256": model.sha256 for model in models},
    }
    return facts_table(f"Evaluation {evaluation.id}", facts)
