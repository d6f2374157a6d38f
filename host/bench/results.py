"""The record of a campaign: campaign.json, written once, and runs.jsonl, which only grows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from device.errors import BadInput
from device.parse import BenchRecord
from device.phone import Phone
from host.bench.plan import Cell, Plan

CAMPAIGN, RUNS = "campaign.json", "runs.jsonl"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1


class Campaign(_Record):
    """What was asked, of which phone, with what."""

    id: str
    started_at: datetime
    smoothdroid: str
    """Version."""
    target: str
    way: str
    """`adb`, `ssh` or `local`."""
    phone: Phone
    build_id: str
    build_isa: str
    build_commit: str
    build_tools: dict[str, str]
    """Tool -> sha256."""
    plan: Plan


class Run(_Record):
    """A cell, measured or failed. Every repetition is kept."""

    fingerprint: str
    cell: Cell
    started_at: datetime
    wall_s: float
    failure: str | None = None
    """Why there is no measurement."""
    tokens_per_s: list[float] = Field(default_factory=list)
    bench: BenchRecord | None = None


def append(folder: Path, run: Run) -> None:
    """Add a run to the record; on disk when this returns."""
    line = run.model_dump_json() + "\n"
    with (folder / RUNS).open("ab+") as file:
        _drop_torn_tail(file.fileno())
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def _drop_torn_tail(descriptor: int) -> None:
    """Cut off what a kill in the middle of a write left: the last line, when it has no end."""
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, size, 0)
    whole = content.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(descriptor, whole)


def read_runs(folder: Path) -> list[Run]:
    """The runs of a campaign, oldest first; none when nothing was measured yet.

    Raises BadInput naming the line when the record is damaged; a torn last line is what a kill leaves, no damage.
    """
    path = folder / RUNS
    if not path.exists():
        return []
    runs = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            runs.append(Run.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors()[0]
            raise BadInput(f"{path}, line {number} is damaged: {problem['loc']}: {problem['msg']}") from error
    return runs


def write_campaign(folder: Path, campaign: Campaign) -> None:
    """Write campaign.json; visible only whole."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{CAMPAIGN}.new"
    new.write_text(campaign.model_dump_json(indent=2) + "\n")
    os.replace(new, folder / CAMPAIGN)


def read_campaign(folder: Path) -> Campaign:
    """The campaign in `folder`. Raises BadInput when its record is damaged or of another version."""
    path = folder / CAMPAIGN
    try:
        return Campaign.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadInput(f"{path} is damaged or of another version: {problem['loc']}: {problem['msg']}") from error


def find_campaigns(places: Iterable[Path]) -> list[Path]:
    """The folders at or below `places` that hold a campaign, sorted. Raises BadInput when a place has none."""
    found: set[Path] = set()
    for place in places:
        here = {path.parent for path in place.rglob(CAMPAIGN)} if place.is_dir() else set()
        if not here:
            raise BadInput(
                f"{place} holds no results (no {CAMPAIGN}); `smoothdroid bench MODEL.gguf -o {place}` makes some"
            )
        found |= here
    return sorted(found)
