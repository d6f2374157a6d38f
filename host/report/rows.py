"""Results -> the rows that tables and plots show. Reads results files and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.bench.plan import Cell
from host.bench.results import Campaign, Run, find_campaigns, read_campaign, read_runs
from host.bench.stats import Interval, interval

NOT_A_SPEED = "emulated: says nothing of a phone's speed"


@dataclass(frozen=True)
class Row:
    """One cell of one campaign, as it is shown."""

    model: str
    test: str
    threads: int
    tokens_per_s: Interval | None
    """None when the cell failed or was not reached."""
    remark: str


@dataclass(frozen=True)
class Section:
    """One campaign: a phone, reached one way."""

    campaign: Campaign
    rows: list[Row]

    @property
    def title(self) -> str:
        """Google Pixel 8 (zuma), over adb."""
        phone = self.campaign.phone
        return f"{phone.model} ({phone.soc}), over {self.campaign.way}"

    @property
    def caveat(self) -> str:
        """What a reader must know before believing a figure, or nothing."""
        return NOT_A_SPEED if self.campaign.phone.emulated else ""


def as_facts(section: Section) -> dict[str, Any]:
    """A section for a program to read; NaN, which JSON has not, becomes null."""
    rows = [
        {
            "model": row.model,
            "test": row.test,
            "threads": row.threads,
            "tokens_per_s": row.tokens_per_s.mean if row.tokens_per_s else None,
            "low": row.tokens_per_s.low if row.tokens_per_s and row.tokens_per_s.n > 1 else None,
            "high": row.tokens_per_s.high if row.tokens_per_s and row.tokens_per_s.n > 1 else None,
            "repetitions": row.tokens_per_s.n if row.tokens_per_s else 0,
            "remark": row.remark,
        }
        for row in section.rows
    ]
    return {"phone": section.campaign.phone.model, "way": section.campaign.way, "caveat": section.caveat, "rows": rows}


def load(places: Iterable[Path]) -> list[Section]:
    """All campaigns at or below `places`. Raises BadInput when there is none, or one is damaged."""
    return [_section(read_campaign(folder), read_runs(folder)) for folder in find_campaigns(places)]


def outcomes(campaign: Campaign, runs: Iterable[Run]) -> Iterator[tuple[Cell, Run | None]]:
    """Each cell of a campaign with the run that counts: the latest that measured it, else the latest, or None."""
    latest: dict[str, Run] = {}
    for run in runs:
        if run.failure is None or run.fingerprint not in latest or latest[run.fingerprint].failure:
            latest[run.fingerprint] = run
    for cell in campaign.plan.cells():
        yield cell, latest.get(cell.fingerprint(campaign.phone.id, campaign.way, campaign.build_id))


def _section(campaign: Campaign, runs: list[Run]) -> Section:
    rows = [_row(cell, run) for cell, run in outcomes(campaign, runs)]
    return Section(campaign, sorted(rows, key=lambda row: (row.test[:2], int(row.test[2:]), row.threads, row.model)))


def _row(cell: Cell, run: Run | None) -> Row:
    if run is None:
        remark, measured = "not measured yet", None
    elif run.failure:
        remark, measured = f"failed: {run.failure}", None
    else:
        measured = interval(run.tokens_per_s)
        remark = "one repetition: no interval" if measured.n == 1 else ""
    return Row(cell.model, cell.test.name, cell.threads, measured, remark)
