"""Measuring: `bench`, `plan check`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.resolve import FORMS, no_phone, open_target, the_only_one
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench import campaign, memory, plan, request
from smoothdroid.host.bench.builds import build_for, extra_files, llama_cpp_source, tools_of, why_this_build
from smoothdroid.host.bench.request import Request
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import app, plan_app
from smoothdroid.host.cli.extras import need_dask
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import Isa, Json, LlamaCpp, setting_options, ssh_options
from smoothdroid.host.cli.phone_selection import fit_for_work, reached, ways_of
from smoothdroid.host.common import console
from smoothdroid.host.farm import health, progress_table
from smoothdroid.host.farm.coordinator import Coordinator, Member, PhoneResult, unexpected
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp import source
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Requested, Run

if TYPE_CHECKING:
    from smoothdroid.host.report.data.rows import EvaluatedCampaign

T = TypeVar("T")


@app.command(
    epilog="Example: smoothdroid bench out/llama2-7b/*.gguf --on adb:SERIAL --threads 1-8 -o results/\n\n"
    "Compare two fairly: smoothdroid bench A.gguf B.gguf --cpus big+mid --cool start+2 --until 2%\n\n"
    "From a file: smoothdroid bench plan.toml\n\n"
    "On many phones: smoothdroid bench plan.toml --on adb:A --on adb:B@host2:5037 --on ssh://u@phone:8022 --share\n\n"
    "A lab: smoothdroid bench plan.toml --farm farm.toml; many machines: --farm tcp://127.0.0.1:8786"
)
@option_groups(ssh=ssh_options, settings=setting_options)
def bench(
    models: Annotated[list[Path], typer.Argument(help="GGUF files, or one plan (.toml) that names them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path("results"),
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="TARGET",
            help=f"{FORMS}. Again for more phones; all: every one. Default: the one attached.",
            autocompletion=completion.targets,
        ),
    ] = None,
    farm: Annotated[
        str | None,
        typer.Option(
            metavar="FARM.TOML|tcp://HOST:8786",
            help="The phones of a lab's inventory, or those lent to a scheduler; --on takes their names. Default: all.",
        ),
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Equal phones (model, SoC) share the cells, instead of each measuring all.")
    ] = False,
    threads: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--threads",
            help="1,2,4 or 1-8 or 2-8+2 or 1-8*2, as in llama-bench. Default: 1, 2, 4 ... as CPUs allow.",
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", help="Prefill lengths in tokens; 0: none. Default: 512.")
    ] = None,
    generate: Annotated[
        str | None, typer.Option("-n", "--generate", help="Decode lengths in tokens; 0: none. Default: 128.")
    ] = None,
    ask: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A real prompt: first token and decode. Again for more.")
    ] = None,
    cpus: Annotated[
        list[str] | None,
        typer.Option(metavar="CPUS", help="big, mid, little, big+mid, all, 0-3 or any. Again to try several."),
    ] = None,
    repetitions: Annotated[
        int | None, typer.Option("-r", "--repetitions", help="Least number in each process of a cell. Default: 2.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Processes of each cell, all taking turns. With 1: no interval. Default: 5."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Add rounds until half the interval is below this, as 2%.",
        ),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="... or this long was spent on a cell. Default: 20m.")] = None,
    sustained: Annotated[
        str | None, typer.Option(metavar="TIME", help="Every test once more for this long, as 10m: tokens/s over time.")
    ] = None,
    cool: Annotated[
        str | None, typer.Option(help="Before each cell, wait for at most 40 (degrees), or start+2 (above the start).")
    ] = None,
    cool_within: Annotated[
        int | None, typer.Option(min=0, help="Seconds to wait at most; then measure, and say so. Default: 600.")
    ] = None,
    *,
    settings: dict[str, str],
    seed: Annotated[int | None, typer.Option(help="Of the order in which cells take turns. Default: 0.")] = None,
    force: Annotated[bool, typer.Option(help="Try cells that do not fit in the phone's memory.")] = False,
    isa: Isa = None,
    ssh: SshOptions,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Measure models on a phone: prefill and decode over threads, CPUs and settings; real prompts; heat."""
    given = {name: value for name, value in locals().items() if name in Request.model_fields and name != "models"}
    asked = _asked(models, {name: value for name, value in given.items() if value is not None} | settings)
    # A slip of the finger should not cost the hashing of 7 GB.
    plan.check(asked)
    workshop = _Workshop(isa, llama_cpp_source(llama_cpp), force)
    if farm and farm.startswith(("tcp://", "tls://")):
        need_dask()
        from smoothdroid.host.farm.remote import Farm

        with closing(Farm(farm)) as lent:
            _bench_many(Coordinator(lent.members(on or []), asked, output, workshop, share=share), json)
        return
    if farm:
        fit, ledger = fit_for_work(Path(farm), on or [], ssh)
        _bench_many(Coordinator(fit, asked, output, workshop, share=share), json, ledger)
        return
    ways = list(dict.fromkeys(on or [the_only_one()]))
    if share or "all" in ways or len(ways) > 1:
        members = [Member(name, name, partial(open_target, name, ssh)) for name in ways_of(ways)]
        if not members:
            raise no_phone()
        _bench_many(Coordinator(members, asked, output, workshop, share=share), json)
        return
    (way,) = ways
    with reached(way, ssh) as (target, phone), console.bar() as bar:
        mine = asked.on(phone, {way, target.name})
        if mine is None:
            raise BadInput(f"the plan is for other phones than {phone.model}: see `phones` in it")
        binaries = workshop.binaries(target, phone)
        artifacts = [artifact.inspect(model, on_step=console.step) for model in request.files(mine.models)]
        planned = plan.make(artifacts, mine, phone)
        workshop.check(planned, phone)
        watch = campaign.CampaignEvents(
            on_step=console.step,
            on_push=lambda done, total: bar.update("sending MiB", done >> 20, total >> 20),
            on_cell=lambda cell, number, total: bar.update("measuring", number - 1, total),
            on_run=_say_run,
            on_warning=console.warning,
        )
        reopen = partial(open_target, way, ssh)
        outcome = campaign.run_campaign(planned, target, phone, binaries, output, watch, reopen=reopen)
    from smoothdroid.host.report.data import rows
    from smoothdroid.host.report.tables import cells

    damage: list[str] = []
    section = rows.evaluate_campaign(outcome.folder, damage)
    for damaged in damage:
        console.warning(f"left out: {damaged}")
    if json:
        runs = [run.model_dump(mode="json") for run in (*outcome.measured, *outcome.failed)]
        cells = rows.as_facts(section)["rows"]
        console.facts({"folder": str(outcome.folder), "kept": outcome.reused, "runs": runs, "cells": cells})
    else:
        console.show(cells.terminal(section))
        console.out.print(
            f"{outcome.folder}  ({len(outcome.measured)} measured, {len(outcome.failed)} failed, "
            f"{outcome.reused} kept from before)",
            soft_wrap=True,
        )
    if outcome.failed:
        raise typer.Exit(1)


@dataclasses.dataclass(frozen=True)
class _Workshop:
    """What bench needs beside host/bench: builds, and the look at a phone's memory."""

    isa: str | None
    origin: source.Source
    force: bool

    def binaries(self, target: Target, phone: Phone) -> campaign.Binaries:
        built = build_for(target, phone, self.isa, self.origin)
        made = built.manifest
        reason = why_this_build(built, phone, self.isa)
        checkout = "" if self.origin == source.pinned() else str(self.origin.folder)
        requested = Requested(isa=self.isa or "", llama_cpp=checkout, force=self.force)
        return campaign.Binaries(made.id, made.isa, made.commit, tools_of(built), extra_files(built), reason, requested)

    def check(self, planned: Plan, phone: Phone) -> None:
        if not self.force:
            memory.check_plan(planned, phone.available_mb)

    def say(self, text: str, *, matters: bool) -> None:
        if matters or not console.err.is_terminal:  # else the table shows it
            console.step(text)


def _bench_many(coordinator: Coordinator, json: bool, ledger: health.HealthRecords | None = None) -> None:
    from smoothdroid.host.report.tables import cells

    with console.board(progress_table.COLUMNS, lambda: [row.cells() for row in coordinator.rows]):
        ended = coordinator.run()
    for reason in ledger.note_all(ended) if ledger else []:
        console.warning(reason)
    if json:
        console.facts({"phones": [_part_facts(one) for one in ended]})
    else:
        for table in filter(None, (_of_its_results(one, cells.terminal) for one in ended)):
            console.show(table)
        said = [[one.member.name, one.phone.model if one.phone else "-", *_became(one)] for one in ended]
        console.table("", ["phone", "model", "measured", "failed", "kept", "results, or what went wrong"], said)
    failed = any(run.failure for one in ended for run in one.runs)
    if status := max([int(failed), *(one.error.exit_status for one in ended if one.error)]):
        raise typer.Exit(status)


def _of_its_results(ended: PhoneResult, make: Callable[[EvaluatedCampaign], T]) -> T | None:
    """Call `make` with a phone's results; None where there are none, or they cannot be read, which is said."""
    from smoothdroid.host.report.data import rows

    if ended.outcome is None:
        return None
    damage: list[str] = []
    made = None
    try:
        made = make(rows.evaluate_campaign(ended.outcome.folder, damage))
    except Exception as error:  # one phone's record must not hide the others'
        damage.append(str(error if isinstance(error, SmoothdroidError) else unexpected(error)))
    for damaged in damage:
        console.warning(f"{ended.member.name}: left out: {damaged}")
    return made


def _became(ended: PhoneResult) -> list[str]:
    measured = sum(run.failure is None for run in ended.runs)
    kept = str(ended.outcome.reused) if ended.outcome else "-"
    why = str(ended.error or ended.why_none or (ended.outcome.folder if ended.outcome else ""))
    return [str(measured), str(len(ended.runs) - measured), kept, why]


def _part_facts(ended: PhoneResult) -> dict[str, Any]:
    from smoothdroid.host.report.data import rows

    folder = ended.outcome.folder if ended.outcome else None
    return {
        "name": ended.member.name,
        "target": ended.member.on,
        "phone": ended.phone.model_dump() if ended.phone else None,
        "folder": str(folder) if folder else None,
        "kept": ended.outcome.reused if ended.outcome else None,
        "runs": [run.model_dump(mode="json") for run in ended.runs],
        "cells": (_of_its_results(ended, rows.as_facts) or {"rows": []})["rows"],
        "error": str(ended.error) if ended.error else None,
        "nothing_to_do": ended.why_none or None,
    }


def _asked(models: Sequence[Path], given: dict[str, Any]) -> Request:
    """A plan file's words, or the defaults, and over them those of the command line."""
    plans = [path for path in models if path.suffix == ".toml"]
    if plans and len(models) > 1:
        raise BadInput(f"{plans[0]} is a plan, which names its models: give it alone")
    base = request.read(plans[0]) if plans else Request(models=[str(model) for model in models])
    return base.with_options(given)


@plan_app.command("check", epilog="Example: smoothdroid plan check plan.toml --on adb:SERIAL")
@option_groups(ssh=ssh_options)
def plan_check(
    file: Annotated[Path, typer.Argument(help="A plan (.toml).", autocompletion=completion.plans)],
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="TARGET", help="Check it against this phone too.", autocompletion=completion.targets
        ),
    ] = None,
    *,
    ssh: SshOptions,
    json: Json = False,
) -> None:
    """Say what a plan would measure, or what is wrong with it. With a phone: its masks and its memory too."""
    asked = request.read(file)
    plan.check(asked)
    if on is None:
        named = [*asked.models, *(model for one in asked.some for model in one.models)]
        artifacts = [artifact.inspect(model, on_step=console.step) for model in request.files(named)]
        if json:
            console.facts({"request": asked.model_dump(), "models": [model.model_dump() for model in artifacts]})
        else:
            console.out.print(f"{file} is well formed: {len(artifacts)} models. `--on TARGET` checks masks and memory")
        return
    with reached(on, ssh) as (target, phone):
        mine = asked.on(phone, {on, target.name})
        if mine is None:
            console.out.print(f"{file} is well formed, and for other phones than {phone.model}")
            return
        artifacts = [artifact.inspect(model, on_step=console.step) for model in request.files(mine.models)]
        planned = plan.make(artifacts, mine, phone)
        memory.check_plan(planned, phone.available_mb)
    cells = list(planned.cells())
    if json:
        console.facts([cell.model_dump(mode="json") for cell in cells])
        return
    rows = [
        [cell.model, cell.test.name, cpu_masks.label(cell.cpus, phone.clusters), str(cell.threads), str(cell.options)]
        for cell in cells
    ]
    console.table(f"{len(cells)} cells on {phone.model}", ["model", "test", "CPUs", "threads", "settings"], rows)


def _say_run(run: Run) -> None:
    cell = run.cell
    rates = ", ".join(f"{rate:.2f}" for rate in run.tokens_per_s)
    where = f" on CPUs {cpu_masks.listed(cell.cpus)}" if cell.cpus else ""
    what = ", ".join(filter(None, [cell.model, cell.test.name, f"{cell.threads} threads{where}", str(cell.options)]))
    what += f", round {run.round + 1}" if run.round else ""
    console.step(f"{what}: " + (f"failed: {run.failure}" if run.failure else f"{rates} tokens/s"))
