"""Results -> the rows that tables and plots show. Reads results files and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.report.data import sustained
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.checks import ENERGY, NOT_CHECKED
from smoothdroid.host.results.finding import Finding
from smoothdroid.host.results.judged_cells import Judged, judge_all
from smoothdroid.host.results.record import RUNS, Campaign, Run, read_campaign, read_runs
from smoothdroid.host.results.statistics import Interval, interval

NOT_A_SPEED = "emulated: says nothing of a phone's speed"
VALID = "valid"


@dataclass(frozen=True)
class Row:
    """One cell of one campaign, as it is shown."""

    judged: Judged
    cpus: str
    """The mask by its name; `any` for none."""
    tokens_per_s: Interval | None
    """None when the cell failed or was not reached."""
    remark: str

    @property
    def model(self) -> str:
        """The file's name."""
        return self.judged.cell.model

    @property
    def test(self) -> str:
        """pp512."""
        return self.judged.cell.test.name

    @property
    def threads(self) -> int:
        """As asked for."""
        return self.judged.cell.threads

    @property
    def settings(self) -> str:
        """What is not llama.cpp's default; empty for most."""
        return str(self.judged.cell.options)

    @property
    def valid(self) -> bool:
        """Whether the number can be believed."""
        return self.tokens_per_s is not None and self.judged.verdict.valid

    @property
    def verdict(self) -> str:
        """`valid`, or the checks that say why not; `-` where there is no number."""
        if self.tokens_per_s is None:
            return "-"
        against = dict.fromkeys(finding.check for finding in self.judged.verdict.findings if finding.invalid)
        return ", ".join(against) or VALID

    @property
    def kernels(self) -> str:
        """What the weights were laid out for: `repacked (q8_0_4x8)`; empty where the log did not tell."""
        told = (str(run.kernels) for run in self.judged.runs if run.kernels)
        return "; ".join(dict.fromkeys(filter(None, told)))

    @property
    def first_token_s(self) -> Interval | None:
        """Seconds from the loaded model to a prompt's first token, over processes; None where there is no prompt."""
        times = [run.first_token_s for run in self.judged.runs if run.first_token_s is not None]
        return interval(times) if times else None


@dataclass(frozen=True)
class Section:
    """One campaign: a phone over one transport."""

    campaign: Campaign
    rows: list[Row]
    runs: list[Run]
    """All that is on record, oldest first."""
    folder: Path

    @property
    def title(self) -> str:
        """Google Pixel 8 (zuma), over adb."""
        phone = self.campaign.phone
        return f"{phone.model} ({phone.soc}), over {self.campaign.transport}"

    @property
    def caveat(self) -> str:
        """What a reader must know before believing a figure, or nothing."""
        return NOT_A_SPEED if self.campaign.phone.emulated else ""

    @property
    def notes(self) -> list[str]:
        """What holds for many rows: what was not seen of them, and what to do about what was found."""
        findings = [finding for row in self.rows for finding in row.judged.verdict.findings]
        notes = {str(finding): None for finding in findings if _is_note(finding)}
        notes |= {f"{finding.check}: {finding.advice}": None for finding in findings if not _is_note(finding)}
        kernels = {f"kernels of {row.model}: {row.kernels}": None for row in self.rows if row.kernels}
        notes = {**kernels, **notes}
        if any(row.judged.joules_per_token is not None for row in self.rows):
            notes["J/token: of the whole phone, on battery"] = None
        return list(notes)


def as_facts(section: Section) -> dict[str, Any]:
    """A section for a program to read; NaN, which JSON has not, becomes null."""
    campaign = section.campaign
    return {
        "phone": campaign.phone.model,
        "transport": campaign.transport,
        "caveat": section.caveat,
        "seed": campaign.plan.protocol.seed,
        "rows": [_row_facts(row) for row in section.rows],
    }


def _row_facts(row: Row) -> dict[str, Any]:
    rate = row.tokens_per_s
    return {
        "model": row.model,
        "test": row.test,
        "threads": row.threads,
        "cpus": row.cpus,
        "options": row.judged.cell.options.model_dump(exclude_defaults=True),
        **interval_facts("tokens_per_s", rate),
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


def interval_facts(name: str, found: Interval | None) -> dict[str, float | None]:
    """An interval as NAME, NAME_low and NAME_high; what is not known or not finite, which JSON lacks, is None."""
    ends = (found.mean, found.low, found.high) if found else (None, None, None)
    names = (name, f"{name}_low", f"{name}_high")
    return {key: end if end is not None and math.isfinite(end) else None for key, end in zip(names, ends, strict=True)}


def section(folder: Path, damage: list[str] | None = None) -> Section:
    """The campaign in `folder`.

    Raises BadInput when it is damaged; with a list for the damage, damaged runs and samples are named there instead.
    """
    campaign, runs = read_campaign(folder), _sound(folder, read_runs(folder, damage), damage)
    rows = [_row(judged, campaign) for judged in judge_all(folder, campaign, runs, damage)]
    return Section(campaign, sorted(rows, key=_order), runs, folder)


def _sound(folder: Path, runs: list[Run], damage: list[str] | None) -> list[Run]:
    """Those whose numbers can be times and rates. Raises BadInput, or names the others in `damage`."""
    sound = []
    for run in runs:
        told = run.completion
        numbers = [*run.tokens_per_s, *(run.bench.samples_ns if run.bench else ())]
        numbers += [told.prompt_tps, told.generated_tps] if told else []
        if all(0 < number < math.inf for number in numbers):
            sound.append(run)
            continue
        found = f"{folder / RUNS} is damaged: {run.cell.model} {run.cell.test.name}: its numbers are {numbers[:8]}"
        if damage is None:
            raise BadInput(found)
        damage.append(found)
    return sound


def _order(row: Row) -> tuple[Any, ...]:
    """Prefill, decode, prompts; short before long; then what differs least last."""
    cell = row.judged.cell
    test = cell.test
    lengths = (bool(test.prompt), test.n_prompt == 0, test.n_prompt, test.n_gen, test.prompt, test.sustained_s)
    return (*lengths, cell.options.depth, row.settings, cell.cpus, cell.threads, cell.model)


def _row(judged: Judged, campaign: Campaign) -> Row:
    cpus = cpu_masks.label(judged.cell.cpus, campaign.phone.clusters)
    if judged.failure:
        return Row(judged, cpus, None, judged.failure)
    said = [finding.found for finding in judged.verdict.findings if not _is_note(finding)]
    if not judged.cell.test.sustained_s:
        return Row(judged, cpus, interval(judged.means), "; ".join(said))
    kept_up = sustained.of(judged)
    return Row(judged, cpus, kept_up.whole, "; ".join([str(kept_up), *said]))


def _is_note(finding: Finding) -> bool:
    return finding.check in (ENERGY, NOT_CHECKED)
