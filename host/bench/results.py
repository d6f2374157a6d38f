"""The record of a campaign: campaign.json, written once, and runs.jsonl, which only grows."""

from __future__ import annotations

import fcntl
import json
import os
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from device import series
from device.errors import BadInput
from device.journal import Waited
from device.kernels import Kernels
from device.parse import BenchRecord, CompletionRecord
from device.phone import Phone
from device.samples import Observation
from device.series import Conditions
from host.bench import upgrade
from host.bench.cell import Cell
from host.bench.plan import Plan

CAMPAIGN, RUNS, SAMPLES, LOCK = "campaign.json", "runs.jsonl", "samples", ".lock"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = 2


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
    build_reason: str = ""
    """Why this build and no better one: which CPU lacks what."""
    plan: Plan
    token: str = ""
    """Of this folder: two folders with the same campaign do not take each other's jobs off the phone."""
    share: str = ""
    """The same in the campaigns of equal phones that share a plan: what is not measured here is, or will be, there."""


class Run(_Record):
    """One process of a cell, measured or failed. Every repetition is kept."""

    fingerprint: str
    cell: Cell
    round: int = 0
    started_at: datetime
    wall_s: float
    failure: str | None = None
    """Why there is no measurement."""
    tokens_per_s: list[float] = Field(default_factory=list)
    """One value a repetition; of a prompt, the answer's."""
    bench: BenchRecord | None = None
    completion: CompletionRecord | None = None
    """Of a prompt."""
    kernels: Kernels | None = None
    """What its log says of the kernels that really ran."""
    job: str = ""
    """On the phone, of which this cell was a part; with the fingerprint, what must not be recorded twice."""
    attempt: int = 1
    """More than 1 when a runner or a phone went down in the middle of this cell."""
    waited: Waited | None = None
    conditions: Conditions | None = None
    """What the phone was like; None when no attempt came to its end. The samples lie in SAMPLES."""
    mask_held: bool | None = None
    """Whether every thread was always allowed on exactly the cell's CPUs; None when none were asked or none seen."""
    runner_cpu_s: float | None = None
    """What the runner itself took of one core meanwhile."""

    @property
    def samples(self) -> str:
        """Where in a campaign's folder the samples lie, as device/series.py reads them."""
        return f"{SAMPLES}/{self.fingerprint}-{self.round}.{self.job}.tsv"

    @property
    def mean(self) -> float:
        """Mean tokens/s of the repetitions. Raises StatisticsError for a run that failed."""
        return statistics.fmean(self.tokens_per_s)

    @property
    def first_token_s(self) -> float | None:
        """Of a prompt: from when the model is loaded to the answer's first token."""
        return self.completion.prompt_tokens / self.completion.prompt_tps if self.completion else None

    @property
    def measured_s(self) -> float:
        """How long the repetitions themselves took, which are the last that a process does."""
        if self.completion:
            told = self.completion
            return told.prompt_tokens / told.prompt_tps + told.generated_tokens / told.generated_tps
        return sum(self.bench.samples_ns) / 1e9 if self.bench else 0.0


def way_of(target: str) -> str:
    """`adb`, `ssh` or `local`, from a target's name."""
    return target.partition(":")[0]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a campaign's folder, which may not be there yet. Raises BadInput when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"another smoothdroid is at work on {folder}; wait until it is done, or end it") from error
        yield


def append(folder: Path, run: Run, samples: str = "") -> None:
    """Add a run and its samples to the record; on disk when this returns."""
    if samples:
        (folder / SAMPLES).mkdir(exist_ok=True)
        (folder / run.samples).write_text(samples, encoding="utf-8")
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


def read_runs(folder: Path, damage: list[str] | None = None) -> list[Run]:
    """The runs of a campaign, oldest first; none when nothing was measured yet. Older schemas are upgraded.

    Raises BadInput naming the line when the record is damaged; a torn last line is what a kill leaves, no damage.
    With a list for the damage, each damaged line is named there instead, and the others are returned.
    """
    path = folder / RUNS
    if not path.exists():
        return []
    runs = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            runs.append(_run(folder, line))
        except ValueError as error:
            found = f"{path}, line {number} is damaged: {_problem(error)}"
            if damage is None:
                raise BadInput(found) from error
            damage.append(found)
    return runs


def _run(folder: Path, line: bytes) -> Run:
    """Raises ValueError, of which ValidationError is one."""
    try:
        return Run.model_validate_json(line)
    except ValidationError as error:
        facts = _older(line)
        if facts is None:
            raise error
    try:
        run = Run.model_validate(upgrade.run(facts))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a record of version {upgrade.version(facts)} without {error}") from error
    campaign = read_campaign(folder)
    name = run.cell.fingerprint(campaign.phone.id, campaign.way, campaign.build_id)
    return run.model_copy(update={"fingerprint": name})


def _older(text: bytes) -> dict[str, Any] | None:
    """A record of an older schema; None where it is none."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return facts if upgrade.version(facts) in upgrade.OLDER else None


def _problem(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{problem['loc']}: {problem['msg']}"
    return str(error)


def observation(folder: Path, run: Run, damage: list[str] | None = None) -> Observation:
    """What was seen while a run of this campaign was measured; nothing where there are no samples of it.

    Raises BadInput when the samples are damaged. With a list for the damage it is named there, and nothing was seen.
    """
    path = folder / run.samples
    if not path.exists():
        return Observation()
    try:
        return series.parse(path.read_text(encoding="utf-8", errors="replace")).observation
    except ValueError as error:
        found = f"{path} is damaged: {error}"
        if damage is None:
            raise BadInput(found) from error
        if found not in damage:
            damage.append(found)
        return Observation()


def write_campaign(folder: Path, campaign: Campaign) -> None:
    """Write campaign.json; visible only whole."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{CAMPAIGN}.new"
    new.write_text(campaign.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(new, folder / CAMPAIGN)


def read_campaign(folder: Path) -> Campaign:
    """The campaign in `folder`; an older schema is upgraded. Raises BadInput when the record is damaged or newer."""
    path = folder / CAMPAIGN
    text = path.read_bytes()
    try:
        facts = _older(text)
        return Campaign.model_validate(upgrade.campaign(facts)) if facts else Campaign.model_validate_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = _problem(error) if isinstance(error, ValueError) else f"it lacks {error}"
        raise BadInput(f"{path} is damaged or of another version: {problem}") from error


def find_campaigns(places: Iterable[Path]) -> list[Path]:
    """The folders at or below `places` that hold a campaign, sorted. Raises BadInput when a place has none."""
    found: set[Path] = set()
    for place in places:
        here = set(campaigns_below(place))
        if not here:
            raise BadInput(
                f"{place} holds no results (no {CAMPAIGN}); `smoothdroid bench MODEL.gguf -o {place}` makes some"
            )
        found |= here
    return sorted(found)


def campaigns_below(place: Path) -> Iterator[Path]:
    """The folders at or below `place` that hold a campaign; none where there is no such folder."""
    for folder, folders, files in os.walk(place):
        if CAMPAIGN in files:
            folders[:] = [name for name in folders if name != SAMPLES]  # a file for each run: not to be listed
            yield Path(folder)
