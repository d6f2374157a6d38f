"""The cells of a campaign as rows that tables, plots and sections show, read from its results folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.report.data.sustained import sustained_rates
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.checks import ENERGY, NOT_CHECKED
from smoothdroid.host.results.finding import Finding
from smoothdroid.host.results.judged_cells import Judged, judge_all
from smoothdroid.host.results.record import RUNS, Campaign, Run, read_campaign, read_runs
from smoothdroid.host.results.statistics import Interval, interval

NOT_A_SPEED = "emulated: not the speed of a phone"
VALID = "valid"


@dataclass(frozen=True)
class CellRow:
    """One cell of one campaign, as it is shown."""

    judged: Judged
    cpus: str
    """The name of the CPU mask; `any` without one."""
    tokens_per_s: Interval | None
    """None when the cell failed or was not reached."""
    remark: str

    @property
    def model(self) -> str:
        """The model file's name."""
        return self.judged.cell.model

    @property
    def test(self) -> str:
        """The test's name: pp512."""
        return self.judged.cell.test.name

    @property
    def threads(self) -> int:
        """The requested number of threads."""
        return self.judged.cell.threads

    @property
    def settings(self) -> str:
        """The settings that differ from llama.cpp's defaults; empty for most cells."""
        return str(self.judged.cell.options)

    @property
    def label(self) -> str:
        """The test and the depth that it starts at; settings are compared within one label."""
        depth = self.judged.cell.options.depth
        return f"{self.test} at depth {depth}" if depth else self.test

    @property
    def setting(self) -> str:
        """The setting apart from the depth: `2 threads on CPUs big, cache k q8_0`."""
        cell = self.judged.cell
        options = str(cell.options.model_copy(update={"depth": 0}))
        threads = cell.threads_label
        return ", ".join(filter(None, [f"{threads} on CPUs {self.cpus}" if cell.cpus else threads, options]))

    @property
    def source(self) -> str:
        """The record that its figures are from, in the form that `grep` finds in runs.jsonl."""
        return f"cell {self.judged.runs[0].fingerprint}" if self.judged.runs else ""

    @property
    def is_burst(self) -> bool:
        """True if it is a plain prefill or decode test: neither sustained nor the answer to a prompt."""
        test = self.judged.cell.test
        return not test.sustained_s and not test.prompt

    @property
    def is_prefill(self) -> bool:
        """True if it measures prefill; otherwise it measures decode."""
        return self.judged.cell.test.n_prompt > 0

    @property
    def valid(self) -> bool:
        """True if there is a number, and no check rejected it."""
        return self.tokens_per_s is not None and self.judged.verdict.valid

    @property
    def verdict(self) -> str:
        """The text `valid`, or the checks that rejected the cell; `-` where there is no number."""
        if self.tokens_per_s is None:
            return "-"
        checks = dict.fromkeys(finding.check for finding in self.judged.verdict.findings if finding.invalid)
        return ", ".join(checks) or VALID

    @property
    def kernels(self) -> str:
        """The layout of the weights in memory: `repacked (q8_0_4x8)`; empty where the log does not report it."""
        layouts = (str(run.kernels) for run in self.judged.runs if run.kernels)
        return "; ".join(dict.fromkeys(filter(None, layouts)))

    @property
    def first_token_s(self) -> Interval | None:
        """Seconds from the loaded model to a prompt's first token, over processes; None where there is no prompt."""
        times = [run.first_token_s for run in self.judged.runs if run.first_token_s is not None]
        return interval(times) if times else None


@dataclass(frozen=True)
class EvaluatedCampaign:
    """A campaign with its cells, each with a verdict."""

    campaign: Campaign
    rows: list[CellRow]
    runs: list[Run]
    """All recorded runs, oldest first."""
    folder: Path

    @property
    def title(self) -> str:
        """The phone and the transport: Google Pixel 8 (zuma), over adb."""
        phone = self.campaign.phone
        return f"{phone.model} ({phone.soc}), over {self.campaign.transport}"

    @property
    def caveat(self) -> str:
        """The warning about every figure; empty for a real phone."""
        return NOT_A_SPEED if self.campaign.phone.emulated else ""

    @property
    def notes(self) -> list[str]:
        """Remarks that hold for many rows: kernels, what was not checked, and advice on what was found."""
        findings = [finding for row in self.rows for finding in row.judged.verdict.findings]
        notes = {f"kernels of {row.model}: {row.kernels}": None for row in self.rows if row.kernels}
        notes |= {str(finding): None for finding in findings if _is_note(finding)}
        notes |= {f"{finding.check}: {finding.advice}": None for finding in findings if not _is_note(finding)}
        if any(row.judged.joules_per_token is not None for row in self.rows):
            notes["J/token: of the whole phone, on battery"] = None
        return list(notes)


def as_facts(evaluated: EvaluatedCampaign) -> dict[str, Any]:
    """Return a campaign's cells for JSON; NaN, which JSON lacks, becomes null."""
    campaign = evaluated.campaign
    return {
        "phone": campaign.phone.model,
        "transport": campaign.transport,
        "caveat": evaluated.caveat,
        "seed": campaign.plan.protocol.seed,
        "rows": [_row_facts(row) for row in evaluated.rows],
    }


def _row_facts(row: CellRow) -> dict[str, Any]:
    return {
        "model": row.model,
        "test": row.test,
        "threads": row.threads,
        "cpus": row.cpus,
        "options": row.judged.cell.options.model_dump(exclude_defaults=True),
        **interval_facts("tokens_per_s", row.tokens_per_s),
        "processes": len(row.judged.runs),
        "repetitions": len(row.judged.rates),
        **interval_facts("first_token_s", row.first_token_s),
        **interval_facts("joules_per_token", row.judged.joules_per_token),
        "kernels": row.kernels,
        "verdict": row.verdict,
        "findings": [
            {"check": finding.check, "found": finding.found, "advice": finding.advice, "invalid": finding.invalid}
            for finding in row.judged.verdict.findings
        ],
        "remark": row.remark,
    }


def interval_facts(name: str, known: Interval | None) -> dict[str, float | None]:
    """Return an interval as NAME, NAME_low and NAME_high; unknown and infinite values, which JSON lacks, are None."""
    ends = (known.mean, known.low, known.high) if known else (None, None, None)
    names = (name, f"{name}_low", f"{name}_high")
    return {key: end if end is not None and math.isfinite(end) else None for key, end in zip(names, ends, strict=True)}


def evaluate_campaign(folder: Path, damage: list[str] | None = None) -> EvaluatedCampaign:
    """Read the campaign in `folder` and evaluate its cells.

    Raises BadInput when it is damaged; with a list for the damage, damaged runs and samples are added to it instead.
    """
    campaign, runs = read_campaign(folder), _sound(folder, read_runs(folder, damage), damage)
    rows = [_row(judged, campaign) for judged in judge_all(folder, campaign, runs, damage)]
    return EvaluatedCampaign(campaign, sorted(rows, key=_order), runs, folder)


def _sound(folder: Path, runs: list[Run], damage: list[str] | None) -> list[Run]:
    """Return the runs whose numbers can be times and rates. Raises BadInput, or adds the others to `damage`."""
    sound = []
    for run in runs:
        answer = run.completion
        numbers = [*run.tokens_per_s, *(run.bench.samples_ns if run.bench else ())]
        numbers += [answer.prompt_tps, answer.generated_tps] if answer else []
        if all(0 < number < math.inf for number in numbers):
            sound.append(run)
            continue
        message = f"{folder / RUNS} is damaged: {run.cell.model} {run.cell.test.name}: its numbers are {numbers[:8]}"
        if damage is None:
            raise BadInput(message)
        damage.append(message)
    return sound


def _order(row: CellRow) -> tuple[Any, ...]:
    """Return the sort key: prefill, decode, prompts; short before long; the model last."""
    cell = row.judged.cell
    test = cell.test
    lengths = (bool(test.prompt), test.n_prompt == 0, test.n_prompt, test.n_gen, test.prompt, test.sustained_s)
    return (*lengths, cell.options.depth, row.settings, cell.cpus, cell.threads, cell.model)


def _row(judged: Judged, campaign: Campaign) -> CellRow:
    cpus = cpu_masks.label(judged.cell.cpus, campaign.phone.clusters)
    if judged.failure:
        return CellRow(judged, cpus, None, judged.failure)
    findings = [finding.found for finding in judged.verdict.findings if not _is_note(finding)]
    if not judged.cell.test.sustained_s:
        return CellRow(judged, cpus, interval(judged.means), "; ".join(findings))
    sustained = sustained_rates(judged)
    return CellRow(judged, cpus, sustained.whole, "; ".join([str(sustained), *findings]))


def _is_note(finding: Finding) -> bool:
    return finding.check in (ENERGY, NOT_CHECKED)
