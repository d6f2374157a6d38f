"""The record of a campaign: campaign.json, written once, and runs.jsonl, which only grows.

The state of the phone is recorded once: as the samples, a file for each run, from which all else is derived.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticSerializationError

from smoothdroid.device.common.atomic_file import sync_folder, write_atomically
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.lock import exclusive
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.job.journal import Waited
from smoothdroid.device.telemetry import series
from smoothdroid.device.telemetry.conditions import Conditions
from smoothdroid.device.telemetry.samples import Observation
from smoothdroid.device.telemetry.series import Samples
from smoothdroid.host.llamacpp.kernel_log import Kernels
from smoothdroid.host.llamacpp.tool_output import BenchRecord, CompletionRecord
from smoothdroid.host.results import upgrade
from smoothdroid.host.results.cell import Cell, Strict
from smoothdroid.host.results.plan import Plan

CAMPAIGN, RUNS, SAMPLES, LOCK = "campaign.json", "runs.jsonl", "samples", ".lock"
TAIL_BYTES = 1 << 16
"""Bytes of a record's end that are read at a time, to see whether its last line is whole."""
CACHED_RUNS = 1000
"""Runs whose conditions stay in memory."""


class Requested(Strict):
    """The options of `smoothdroid bench` beside the plan, as far as a repetition needs them."""

    isa: str = ""
    """The ISA level that `--isa` named; empty for the best one."""
    llama_cpp: str = ""
    """The folder of the checkout that `--llama-cpp` named; empty for the pinned llama.cpp."""
    force: bool = False
    """The memory check was left out."""


class Campaign(Strict):
    """A campaign: the plan, the phone and the build."""

    schema_version: Literal[4] = 4
    id: str
    started_at: datetime
    smoothdroid: str
    """Version."""
    target: str
    transport: str
    """`adb`, `ssh` or `local`."""
    phone: Phone
    build_id: str
    build_isa: str
    build_commit: str
    build_tools: dict[str, str]
    """The sha256 of each tool."""
    build_reason: str = ""
    """The reason for this build and no better one: which CPU lacks what."""
    requested: Requested = Requested()
    plan: Plan
    token: str = ""
    """A random token of this folder, so that two folders with the same campaign do not take each other's jobs."""
    share: str = ""
    """An identity that the campaigns of equal phones share with a plan: the cells missing here are measured there."""


class Run(Strict):
    """One process of a cell, measured or failed. Every repetition is kept."""

    schema_version: Literal[3] = 3
    fingerprint: str
    cell: Cell
    round: int = 0
    started_at: datetime
    wall_s: float
    failure: str | None = None
    """The reason for a missing measurement."""
    tokens_per_s: list[float] = Field(default_factory=list)
    """One value for each repetition; for a prompt, the decode rate of the answer."""
    bench: BenchRecord | None = None
    completion: CompletionRecord | None = None
    """The timings of a prompt."""
    kernels: Kernels | None = None
    """The kernels that really ran, from the log."""
    job: str = ""
    """The job on the phone that ran this cell. No pair of job and fingerprint is recorded twice."""
    attempt: int = 1
    """The number of the attempt; above 1 when the runner or the phone went down during this cell."""
    waited: Waited | None = None
    mask_held: bool | None = None
    """True when every thread was always allowed on exactly the cell's CPUs; None without a mask or without samples."""
    runner_cpu_s: float | None = None
    """Seconds of CPU time that the runner itself used."""

    @model_validator(mode="after")
    def _has_rates(self) -> Run:
        if self.failure is None and not self.tokens_per_s:
            raise ValueError("neither a failure nor tokens/s")
        return self

    @property
    def samples(self) -> str:
        """The path of the samples in the campaign's folder; device/telemetry/series.py reads them."""
        return f"{SAMPLES}/{self.fingerprint}-{self.round}.{self.job}.tsv"

    @property
    def mean(self) -> float:
        """Mean tokens/s of the repetitions. Raises StatisticsError for a run that failed."""
        return statistics.fmean(self.tokens_per_s)

    @property
    def first_token_s(self) -> float | None:
        """Seconds from the loaded model to the first token of the answer; None without a prompt."""
        return self.completion.prompt_tokens / self.completion.prompt_tps if self.completion else None

    @property
    def measured_s(self) -> float:
        """Seconds that the repetitions took, at the end of the process."""
        if self.completion:
            timings = self.completion
            prefill_s = timings.prompt_tokens / timings.prompt_tps
            return prefill_s + timings.generated_tokens / timings.generated_tps
        return sum(self.bench.samples_ns) / 1e9 if self.bench else 0.0


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a campaign's folder, which is created where it is missing. Raises BadInput when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK):
        yield


def append(folder: Path, run: Run, samples: str = "") -> None:
    """Add a run and its samples to the record. Both are on disk when this returns; the samples are written first."""
    if samples:
        kept = folder / SAMPLES
        if not kept.is_dir():
            kept.mkdir(exist_ok=True)
            sync_folder(folder)
        write_atomically(folder / run.samples, samples.encode("utf-8", "replace"), durable=True)
    path = folder / RUNS
    begins = not path.exists()
    with path.open("ab+") as file:
        _drop_torn_tail(file.fileno())
        file.write(run.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if begins:
        sync_folder(folder)


def _drop_torn_tail(descriptor: int) -> None:
    """Cut off a last line without its end, which a kill during a write leaves. Only the end of the file is read."""
    size = whole = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    while whole:
        start = max(0, whole - TAIL_BYTES)
        found = os.pread(descriptor, whole - start, start).rfind(b"\n") + 1
        whole = start + found
        if found:
            break
    os.ftruncate(descriptor, whole)


def read_runs(folder: Path, damage: list[str] | None = None) -> list[Run]:
    """Return the runs of a campaign, oldest first; none when nothing was measured yet. Older schemas are upgraded.

    Raises BadInput naming the line when the record is damaged; a torn last line, which a kill leaves, is ignored.
    With a list for the damage, each damaged line is named there instead, and the others are returned.
    """
    runs = []
    for number, _, found in read_lines(folder):
        if isinstance(found, Run):
            runs.append(found)
            continue
        named = f"{folder / RUNS}, line {number} is damaged: {_problem(found)}"
        if damage is None:
            raise BadInput(named) from found
        damage.append(named)
    return runs


def read_lines(folder: Path) -> Iterator[tuple[int, bytes, Run | ValueError]]:
    """Yield each whole line of the record: its number from 1, its bytes, and its run or what is wrong with it."""
    path = folder / RUNS
    if not path.exists():
        return
    campaign = _campaign_if_sound(folder)
    models = {model.sha256 for model in campaign.plan.models} if campaign else None
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            run = _run(folder, line, campaign)
            if models is not None and run.cell.model_sha256 not in models:
                raise ValueError("its model is none of the campaign's")
        except ValueError as error:
            yield number, line, error
        else:
            yield number, line, run


def _campaign_if_sound(folder: Path) -> Campaign | None:
    try:
        return read_campaign(folder)
    except (BadInput, OSError):
        return None


def _run(folder: Path, line: bytes, campaign: Campaign | None) -> Run:
    """Return the run of a line. Raises ValueError for a damaged line, BadInput for a damaged campaign that it needs."""
    try:
        return Run.model_validate_json(line)
    except ValidationError as error:
        facts = _older(line)
        if facts is None:
            raise error
    try:
        run = Run.model_validate_json(json.dumps(upgrade.run(facts)))  # stricter with texts than from Python's
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a record of version {upgrade.version(facts)} without {error}") from error
    if not upgrade.has_old_fingerprint(facts):
        return run
    campaign = campaign or read_campaign(folder)
    name = run.cell.fingerprint(campaign.phone.id, campaign.transport, campaign.build_id)
    return run.model_copy(update={"fingerprint": name})


def _older(text: bytes) -> dict[str, Any] | None:
    """Return a record of an older schema as JSON; None for any other text."""
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
    """Return the samples of a run as an observation; an empty one where there are none.

    Raises BadInput when the samples are damaged. With a list for the damage they are named there, and count as missing.
    """
    found = _samples(folder / run.samples, damage)
    return found.observation if found else Observation()


def conditions(folder: Path, run: Run, damage: list[str] | None = None) -> Conditions | None:
    """Return a summary of a run's samples; None where there are none. Raises BadInput as `observation`."""
    path = folder / run.samples
    known = _conditions.of(path)
    if known is None and (found := _samples(path, damage)):
        return Conditions.of(found)
    return known


def _samples(path: Path, damage: list[str] | None) -> Samples | None:
    try:
        found = series.parse(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    except (ValueError, ArithmeticError) as error:
        named = f"{path} is damaged: {error}"
        if damage is None:
            raise BadInput(named) from error
        if named not in damage:
            damage.append(named)
        return None
    _conditions.keep(path, found)
    return found


class _ConditionsCache:
    """A cache of the conditions in the samples that were read last: a run's verdict and its conditions go together."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: dict[Path, tuple[tuple[int, int], Conditions]] = {}

    def of(self, path: Path) -> Conditions | None:
        """Return the cached conditions of a file; None where there are none, or the file has changed."""
        stamp = self._stamp(path)
        kept = self._kept.get(path)
        return kept[1] if kept and kept[0] == stamp else None

    def keep(self, path: Path, samples: Samples) -> None:
        """Cache the conditions of a file, in the place of the oldest where there are too many."""
        if (stamp := self._stamp(path)) is None:
            return
        with self._lock:
            self._kept[path] = stamp, Conditions.of(samples)
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]

    @staticmethod
    def _stamp(path: Path) -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


_conditions = _ConditionsCache(CACHED_RUNS)


def write_campaign(folder: Path, campaign: Campaign) -> None:
    """Write campaign.json; visible only whole. Raises BadInput for bytes that are no text, in a prompt for example."""
    try:
        text = campaign.model_dump_json(indent=2)
    except PydanticSerializationError as error:
        raise BadInput(
            "the plan, or the phone's description, holds bytes that are no text. If a prompt or a file name has "
            "letters beyond ASCII, run this in a terminal whose locale is UTF-8 (LANG=C.UTF-8)"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CAMPAIGN, f"{text}\n", durable=True)


def read_campaign(folder: Path) -> Campaign:
    """Return the campaign in `folder`; an older schema is upgraded. Raises BadInput for a damaged or newer record."""
    path = folder / CAMPAIGN
    text = path.read_bytes()
    try:
        facts = _older(text)
        return Campaign.model_validate_json(json.dumps(upgrade.campaign(facts)) if facts else text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = _problem(error) if isinstance(error, ValueError) else f"it lacks {error}"
        raise BadInput(f"{path} is damaged or of another version: {problem}") from error


def find_campaigns(places: Iterable[Path]) -> list[Path]:
    """Return the folders at or below `places` that hold a campaign, sorted. Raises BadInput when a place has none."""
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
    """Yield the folders at or below `place` that hold a campaign; none where there is no such folder."""
    for folder, folders, files in os.walk(place):
        if CAMPAIGN in files:
            folders[:] = [name for name in folders if name != SAMPLES]  # it holds a file for each run
            yield Path(folder)
