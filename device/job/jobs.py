"""The jobs on a phone: listed with their state, and removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.job.journal import Journal
from smoothdroid.device.job.session import Session
from smoothdroid.device.store import inventory
from smoothdroid.device.transport.target import remove

State = Literal["running", "finished", "interrupted", "damaged"]

# Lists the folders that an interrupted removal or transfer left, one a line. A transfer may still be in progress, so a
# folder of one counts only when it is an hour old.
_LEFTOVERS = """
find "$1/jobs" -maxdepth 1 -name '*.trash' 2>/dev/null
find "$1/jobs" -maxdepth 1 -name '*.part' -mmin +60 2>/dev/null
:
"""


@dataclass(frozen=True)
class Job:
    """A job on a phone."""

    name: str
    state: State
    """`interrupted`: no runner works on it, and not all of its cells have ended."""
    done: int
    """Cells that ended."""
    total: int
    """Cells that it was given; 0 when the phone has lost the list."""
    uncollected: int
    """Cells whose results no command has collected, or not all: it would have removed the job."""
    size_bytes: int
    idle_s: int
    """Since something happened in it."""
    pins: Sequence[str]
    """Ids of the files in the phone's store that it needs."""
    damage: Sequence[str]


def look(session: Session) -> list[Job]:
    """List all jobs on the phone, by name."""
    names, running = session.jobs(), session.at_work()
    return [_job(name, session.inspect(name), running == name) for name in names]


def _job(name: str, said: str, running: bool) -> Job:
    head, _, journal = said.partition("\njournal\n")
    fields: dict[str, list[str]] = {}
    for line in head.splitlines():
        word, _, rest = line.partition(" ")
        fields.setdefault(word, []).append(rest)
    read = Journal(name)
    read.read(journal)
    broken = [f"{part} is lost or damaged" for part in " ".join(fields.get("damaged", [])).split()]
    if not read.runners and _number(fields, "outputs"):
        broken.append("journal is lost or damaged")
    damage = broken + [f"journal: {what}" for what in read.damage]
    done, finished = len(read.ended), read.finished
    state: State = "running" if running else "damaged" if damage else "finished" if finished else "interrupted"
    return Job(
        name=name,
        state=state,
        done=done,
        total=len(fields.get("cell", [])),
        # What a damaged journal does not tell of may have been measured.
        uncollected=max(done, _number(fields, "outputs")) if damage else done,
        size_bytes=_number(fields, "kb") * 1024,
        idle_s=_number(fields, "idle"),
        pins=fields.get("pin", []),
        damage=damage,
    )


def _number(fields: dict[str, list[str]], word: str) -> int:
    text = fields.get(word, [""])[0]
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


@dataclass(frozen=True)
class Kept:
    """A job, or a file in the phone's store, that stays, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Cleaned:
    """Everything that was removed from a phone, and what was not."""

    jobs: list[Job]
    stored: list[inventory.Stored]
    leftovers: list[str]
    """Folders of interrupted removals and transfers."""
    kept: list[Kept]


def clean(
    session: Session,
    named: Sequence[str] = (),
    *,
    idle_s: float = 0.0,
    uncollected: bool = False,
    dry_run: bool = False,
) -> Cleaned:
    """Remove the jobs and files that no runner at work needs, or of these what is `named`, or was idle for so long.

    A job with results that nobody has collected is kept, with the files that it needs, unless `uncollected`. Raises
    BadInput when something is named that is not there.
    """
    target = session.target
    jobs, files = look(session), inventory.listing(target)
    if unknown := sorted(set(named) - {job.name for job in jobs} - {file.id for file in files}):
        raise BadInput(
            f"{target.name} has nothing with the id {', '.join(unknown)}: see `smoothdroid phone df` and "
            "`smoothdroid phone jobs`"
        )
    kept: list[Kept] = []
    going = []
    for job in jobs:
        if job.name in named if named else job.idle_s >= idle_s:
            if why := _why_kept(job, uncollected=uncollected):
                kept.append(Kept(job.name, why))
            elif dry_run or session.remove(job.name, idle=True):
                going.append(job)
            else:
                kept.append(Kept(job.name, "a runner works on it"))
    leftovers = [] if named else _sweep(session, dry_run=dry_run)
    evicted = []
    for file in files:
        if file.id in named if named else file.idle_s >= idle_s:
            gone = {*(job.name for job in going), *(path.rpartition("/")[2] for path in leftovers)}
            if needed := sorted(set(file.jobs) - gone):
                kept.append(Kept(file.name, f"the job {needed[0]} on the phone needs it"))
            elif file.runs:
                kept.append(Kept(file.name, "a process on the phone runs with it"))
            else:
                evicted.append(file)
    if not dry_run:
        inventory.evict(target, [file.id for file in evicted])
    return Cleaned(going, evicted, leftovers, kept)


def _why_kept(job: Job, *, uncollected: bool) -> str:
    if job.state == "running":
        return "a runner works on it"
    if job.uncollected and not uncollected:
        return (
            f"it may hold results that no command has collected (cells: {job.uncollected}). The command that started "
            "it collects them; --yes removes them"
        )
    return ""


def _sweep(session: Session, *, dry_run: bool) -> list[str]:
    target = session.target
    said = target.run(["sh", "-c", _LEFTOVERS, "leftovers", target.root]).stdout.splitlines()
    found = [path for path in said if path.startswith(f"{target.root}/jobs/") and not path.endswith("/..")]
    for path in [] if dry_run else found:
        remove(target, path)
    return found
