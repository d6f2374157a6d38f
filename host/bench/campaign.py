"""A plan against one phone: what is missing is measured, what is there is kept."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from device import store
from device.errors import BadInput, CommandFailed, TargetTimeout
from device.parse import BenchRecord, NoNumber, parse_bench
from device.phone import Phone
from device.target import Progress, Target
from host.bench import results
from host.bench.plan import PROTOCOL_VERSION, Cell, Plan
from host.bench.results import Campaign, Run

CELL_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Binaries:
    """The build that a campaign runs, as far as it matters here."""

    id: str
    isa: str
    commit: str
    tools: dict[str, tuple[Path, str]]
    """Tool -> (file, sha256)."""


@dataclass(frozen=True)
class Watch:
    """Who wants to know how it goes; each may be left out."""

    on_step: Callable[[str], None] = lambda step: None
    on_push: Progress = lambda done, total: None
    on_cell: Callable[[Cell, int, int], None] = lambda cell, number, total: None
    """Before a cell: the cell, its number from 1, and how many there are to measure."""
    on_run: Callable[[Run], None] = lambda run: None


@dataclass(frozen=True)
class Outcome:
    """What became of a campaign."""

    folder: Path
    measured: list[Run]
    failed: list[Run]
    kept: int
    """Cells that had been measured before."""


def run_campaign(
    plan: Plan, target: Target, phone: Phone, binaries: Binaries, results_root: Path, watch: Watch | None = None
) -> Outcome:
    """Measure what is missing of `plan`, one folder below `results_root`.

    Raises TargetLost when the phone is gone; what was measured until then is kept, and a second call goes on.
    """
    watch = watch or Watch()
    campaign = _campaign(plan, target, phone, binaries)
    folder = results_root / f"{_slug(phone.model)}-{campaign.way}-{campaign.id}"
    if (folder / results.CAMPAIGN).exists():
        campaign = results.read_campaign(folder)
    else:
        results.write_campaign(folder, campaign)
    done = {run.fingerprint for run in results.read_runs(folder) if run.failure is None}

    def fingerprint(cell: Cell) -> str:
        return cell.fingerprint(phone.id, campaign.way, binaries.id)

    cells = list(plan.cells())
    missing = [cell for cell in cells if fingerprint(cell) not in done]
    outcome = Outcome(folder, [], [], kept=len(cells) - len(missing))
    if not missing:
        return outcome
    bench, models = _deploy(plan, target, binaries, watch)
    for number, cell in enumerate(missing, 1):
        watch.on_cell(cell, number, len(missing))
        run = _measure(target, bench, models[cell.model_sha256], cell, fingerprint(cell))
        results.append(folder, run)
        (outcome.failed if run.failure else outcome.measured).append(run)
        watch.on_run(run)
    return outcome


def _campaign(plan: Plan, target: Target, phone: Phone, binaries: Binaries) -> Campaign:
    way = target.name.partition(":")[0]
    asked = [cell.fingerprint(phone.id, way, binaries.id) for cell in plan.cells()]
    return Campaign(
        id=hashlib.sha256(" ".join(sorted(asked)).encode()).hexdigest()[:8],
        started_at=datetime.now(UTC),
        smoothdroid=f"{version('smoothdroid')}, protocol {PROTOCOL_VERSION}",
        target=target.name,
        way=way,
        phone=phone,
        build_id=binaries.id,
        build_isa=binaries.isa,
        build_commit=binaries.commit,
        build_tools={tool: sha256 for tool, (_, sha256) in binaries.tools.items()},
        plan=plan,
    )


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in name.lower()).split())[:40] or "phone"


def _deploy(plan: Plan, target: Target, binaries: Binaries, watch: Watch) -> tuple[str, dict[str, str]]:
    """llama-bench's and the models' paths on the phone; sends what is not there."""
    file, sha256 = binaries.tools["llama-bench"]
    watch.on_step("deploying llama-bench")
    bench = store.ensure(target, file, sha256, executable=True, progress=watch.on_push)
    models = {}
    for model in plan.models:
        watch.on_step(f"deploying {model.name}")
        models[model.sha256] = store.ensure(target, model.path, model.sha256, progress=watch.on_push)
    return bench, models


def _measure(target: Target, bench: str, model: str, cell: Cell, fingerprint: str) -> Run:
    argv = [bench, "-m", model, "-t", str(cell.threads), "-p", str(cell.test.n_prompt), "-n", str(cell.test.n_gen)]
    argv += ["-r", str(cell.repetitions), "-o", "jsonl"]
    started_at, start = datetime.now(UTC), time.monotonic()
    record: BenchRecord | None = None
    failure: str | None = None
    try:
        record = _checked(parse_bench(target.run(argv, timeout_s=CELL_TIMEOUT_S, tied=True).stdout), cell)
    except CommandFailed as error:
        failure = why_it_died(error)
    except (NoNumber, TargetTimeout) as error:
        failure = str(error)
    return Run(
        fingerprint=fingerprint,
        cell=cell,
        started_at=started_at,
        wall_s=round(time.monotonic() - start, 3),
        failure=failure,
        tokens_per_s=record.samples_ts if record else [],
        bench=record,
    )


def _checked(records: list[BenchRecord], cell: Cell) -> BenchRecord:
    """The one record that was asked for. Raises NoNumber when llama-bench measured something else."""
    record = records[0]
    got = (len(records), record.n_threads, record.n_prompt, record.n_gen, len(record.samples_ts))
    asked = (1, cell.threads, cell.test.n_prompt, cell.test.n_gen, cell.repetitions)
    if got != asked:
        raise NoNumber(f"asked for (records, threads, prompt, generate, repetitions) {asked}, llama-bench ran {got}")
    return record


def why_it_died(error: CommandFailed) -> str:
    """What a tool's end on a phone means, in words that help."""
    meaning = {
        126: "the phone may not execute it: is the folder mounted noexec (as /sdcard is), or the ABI another one?",
        127: "the phone cannot find it, or its loader",
        132: "illegal instruction: this build uses instructions that this phone's CPU lacks. Build a lower ISA level "
        "(`smoothdroid build --isa v8.0`)",
        137: "it was killed: too little memory, or Android's limit on background processes (Termux: turn off "
        "phantom process killing)",
        139: "it crashed (segmentation fault)",
    }.get(error.status)
    last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-3:]
    said = f"; it said: {' / '.join(last)}" if last else ""
    return f"`{shlex.join(error.argv[:1])}` ended with status {error.status}: {meaning or 'it failed'}{said}"


def check_runnable(needs: list[str], phone: Phone) -> None:
    """Raises BadInput when the phone's CPUs lack something that a build needs."""
    if lacking := sorted(set(needs) - set(phone.features)):
        raise BadInput(
            f"{phone.model} lacks {', '.join(lacking)}, which this build needs, and would die of an illegal "
            "instruction. Leave --isa out to get the best level that runs there"
        )
