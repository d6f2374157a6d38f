"""The commands that measure: `bench`, `plan check`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.resolve import FORMS
from smoothdroid.host.bench import memory, plan
from smoothdroid.host.bench.builds import binaries_for
from smoothdroid.host.bench.request import from_command_line, model_files, read_plan_file
from smoothdroid.host.cli import bench_output, completion
from smoothdroid.host.cli.command import app, plan_app
from smoothdroid.host.cli.option_groups import option_groups, with_help
from smoothdroid.host.cli.options import BuildOptions, FarmPhones, Json, OnePhone, setting_options
from smoothdroid.host.common import console
from smoothdroid.host.farm.bench_call import BenchCall
from smoothdroid.host.farm.coordinator import Coordinator
from smoothdroid.host.farm.progress_table import ProgressRow
from smoothdroid.host.farm.selection import selected
from smoothdroid.host.gguf import artifact
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.plan import Plan


@dataclasses.dataclass(frozen=True)
class PlanArguments:
    """The options of `bench` that say what to measure, and how; each has the same name in a plan file."""

    threads: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--threads",
            help="Numbers of threads: 1,2,4 or 1-8 or 2-8+2 or 1-8*2, as in llama-bench. Default: 1, 2, 4 ... up to "
            "the number of CPUs.",
        ),
    ] = None
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", help="Prefill lengths in tokens; 0: none. Default: 512.")
    ] = None
    generate: Annotated[
        str | None, typer.Option("-n", "--generate", help="Decode lengths in tokens; 0: none. Default: 128.")
    ] = None
    ask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="A real prompt: measures time to the first token and decode. Repeat for more prompts."
        ),
    ] = None
    cpus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CPUS",
            help="CPUs to run on: big, mid, little, big+mid, all, 0-3 or any (no restriction). Repeat to compare "
            "several. Default: any.",
        ),
    ] = None
    repetitions: Annotated[
        int | None,
        typer.Option("-r", "--repetitions", help="Minimum number of repetitions in each process. Default: 2."),
    ] = None
    rounds: Annotated[
        int | None,
        typer.Option(help="Processes for each cell; cells are interleaved. With 1 there is no interval. Default: 5."),
    ] = None
    until: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Add rounds until half the interval is below this share, such as 2%."),
    ] = None
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop adding rounds to a cell after this time. Default: 20m.")
    ] = None
    sustained: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Also run each test for this long, such as 10m: tokens/s over time."),
    ] = None
    cool: Annotated[
        str | None,
        typer.Option(
            metavar="LIMIT",
            help="Before each cell, wait until no sensor is above this: 40 (°C), or start+2 (above the temperature at "
            "the start).",
        ),
    ] = None
    cool_within: Annotated[
        int | None,
        typer.Option(min=0, help="Longest wait of --cool, in seconds; then measure anyway, and say so. Default: 600."),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the order in which cells are measured. Default: 0.")] = None

    def given(self) -> dict[str, Any]:
        """Return the options that the command line sets, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


BENCH_PHONES = with_help(
    FarmPhones,
    farm="Phones of a lab's inventory (FARM.TOML), or phones lent to a scheduler (tcp://HOST:8786); --on then takes "
    "their names. Default: all of them.",
)


@app.command(
    epilog="Example: smoothdroid bench out/llama2-7b/*.gguf --on adb:SERIAL --threads 1-8 -o results/\n\n"
    "Compare two models fairly: smoothdroid bench A.gguf B.gguf --cpus big+mid --cool start+2 --until 2%\n\n"
    "From a plan file: smoothdroid bench plan.toml\n\n"
    "On many phones: smoothdroid bench plan.toml --on adb:A --on adb:B@host2:5037 --on ssh://u@phone:8022 --share\n\n"
    "A lab: smoothdroid bench plan.toml --farm farm.toml; many machines: --farm tcp://127.0.0.1:8786"
)
@option_groups(phones=BENCH_PHONES, options=PlanArguments, settings=setting_options, build=BuildOptions)
def bench(
    models: Annotated[list[Path], typer.Argument(help="GGUF files, or one plan file (.toml) that names them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path("results"),
    *,
    phones: FarmPhones,
    share: Annotated[
        bool, typer.Option("--share", help="Equal phones (model, SoC) share the cells, instead of each measuring all.")
    ] = False,
    options: PlanArguments,
    settings: dict[str, str],
    force: Annotated[bool, typer.Option(help="Try cells that do not fit in the phone's memory.")] = False,
    build: BuildOptions,
    json: Json = False,
) -> None:
    """Measure models on phones: prefill and decode over threads, CPUs and settings; real prompts; heat."""
    request = from_command_line(models, options.given() | settings)
    plan.check(request)  # a typing error must not cost the hashing of 7 GB
    builds = binaries_for(build.isa, build.source(), force)
    with selected(phones.on or [], phones.farm, phones.ssh, console.warning, share=share) as chosen:
        rows = [ProgressRow(member.name) for member in chosen.members]
        with bench_output.progress(rows, single=chosen.single) as display:
            call = BenchCall(request, output, builds, display, share=share, force=force)
            results = Coordinator(chosen.members, rows, call).run()
    for sentence in chosen.note(results):
        console.warning(sentence)
    if status := bench_output.show(results, single=chosen.single, json=json):
        raise typer.Exit(status)


@plan_app.command("check", epilog="Example: smoothdroid plan check plan.toml --on adb:SERIAL")
@option_groups(phone=with_help(OnePhone, on=f"Check the plan against this phone too: {FORMS}."))
def plan_check(
    file: Annotated[Path, typer.Argument(help="A plan file (.toml).", autocompletion=completion.plans)],
    *,
    phone: OnePhone,
    json: Json = False,
) -> None:
    """Show what a plan would measure, or what is wrong with it. With a phone, also check its CPUs and its memory."""
    request = read_plan_file(file)
    plan.check(request)
    if phone.on is None:
        named = [*request.models, *(model for options in request.overrides for model in options.models)]
        models = [artifact.inspect(model, on_step=console.step) for model in model_files(named)]
        if json:
            requested = request.model_dump()
            requested["some"] = requested["overrides"]  # the key of 0.1, for one release
            console.facts({"request": requested, "models": [model.model_dump() for model in models]})
        else:
            console.out.print(f"{file} is well formed: {len(models)} models. `--on TARGET` checks masks and memory")
        return
    with phone.reached() as (target, described):
        for_phone = request.on(described, {phone.on, target.name})
        if for_phone is None:
            console.out.print(f"{file} is well formed, and for other phones than {described.model}")
            return
        models = [artifact.inspect(model, on_step=console.step) for model in model_files(for_phone.models)]
        planned = plan.make(models, for_phone, described)
        memory.check_plan(planned, described.available_mb)
    _show_cells(planned, described, json=json)


def _show_cells(planned: Plan, phone: Phone, *, json: bool) -> None:
    cells = list(planned.cells())
    if json:
        console.facts([cell.model_dump(mode="json") for cell in cells])
        return
    rows = [
        [cell.model, cell.test.name, cpu_masks.label(cell.cpus, phone.clusters), str(cell.threads), str(cell.options)]
        for cell in cells
    ]
    console.table(f"{len(cells)} cells on {phone.model}", ["model", "test", "CPUs", "threads", "settings"], rows)
