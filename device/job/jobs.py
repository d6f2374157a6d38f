"""The jobs on a phone: listed with their state, and removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    """The state; `interrupted` means that no runner works on it and not all of its cells have ended."""
    done: int
    """The number of cells that ended."""
    total: int
    """The number of its cells; 0 when the phone has lost the list."""
    uncollected: int
    """The number of cells with uncollected results; a command that collects all results removes the job."""
    size_bytes: int
    idle_s: int
    """The time since its last change."""
    pins: Sequence[str]
    """The ids of the files in the phone's store that it needs."""
    damage: Sequence[str]


def look(session: Session) -> list[Job]:
    """List all jobs on the phone, by name."""
    names, running = session.jobs(), session.running_job()
    return [_job(name, session.inspect(name), running == name) for name in names]


def _job(name: str, inspected: str, running: bool) -> Job:
    head, _, journal = inspected.partition("\njournal\n")
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
        # Cells that a damaged journal does not mention may have been measured.
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
    """A job, or a file in the phone's store, that stays, and the reason."""

    name: str
    why: str


@dataclass(frozen=True)
class CleanResult:
    """The jobs and files that were removed from a phone, and those that stay."""

    jobs: list[Job]
    stored: list[inventory.Stored]
    leftovers: list[str]
    """The folders of interrupted removals and transfers."""
    kept: list[Kept]

    def facts(self) -> dict[str, object]:
        """Return what was removed and what stays, for JSON."""
        return {
            "removed": [asdict(file) for file in self.stored],
            "removed_jobs": [asdict(job) for job in self.jobs],
            "leftovers": self.leftovers,
            "kept": [asdict(one) for one in self.kept],
        }


def clean(
    session: Session,
    named: Sequence[str] = (),
    *,
    idle_s: float = 0.0,
    uncollected: bool = False,
    dry_run: bool = False,
) -> CleanResult:
    """Remove the jobs and files that no running job needs, limited to those `named` or idle for `idle_s`.

    A job with uncollected results is kept, with the files that it needs, unless `uncollected`. Raises BadInput for a
    name that neither a job nor a file has.
    """
    target = session.target
    jobs, files = look(session), inventory.listing(target)
    if unknown := sorted(set(named) - {job.name for job in jobs} - {file.id for file in files}):
        raise BadInput(
            f"{target.name} has nothing with the id {', '.join(unknown)}: see `smoothdroid phone df` and "
            "`smoothdroid phone jobs`"
        )
    kept: list[Kept] = []
    removed = []
    for job in jobs:
        if job.name in named if named else job.idle_s >= idle_s:
            if why := _why_kept(job, uncollected=uncollected):
                kept.append(Kept(job.name, why))
            elif dry_run or session.remove(job.name, idle=True):
                removed.append(job)
            else:
                kept.append(Kept(job.name, "a runner works on it"))
    leftovers = [] if named else _sweep(session, dry_run=dry_run)
    evicted = []
    for file in files:
        if file.id in named if named else file.idle_s >= idle_s:
            gone = {*(job.name for job in removed), *(path.rpartition("/")[2] for path in leftovers)}
            if needed := sorted(set(file.jobs) - gone):
                kept.append(Kept(file.name, f"the job {needed[0]} on the phone needs it"))
            elif file.runs:
                kept.append(Kept(file.name, "a process on the phone runs with it"))
            else:
                evicted.append(file)
    if not dry_run:
        inventory.evict(target, [file.id for file in evicted])
    return CleanResult(removed, evicted, leftovers, kept)


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
    paths = target.run(["sh", "-c", _LEFTOVERS, "leftovers", target.root]).stdout.splitlines()
    leftovers = [path for path in paths if path.startswith(f"{target.root}/jobs/") and not path.endswith("/..")]
    for path in [] if dry_run else leftovers:
        remove(target, path)
    return leftovers
