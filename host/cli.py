"""The commands. Each parses, calls one function and prints; nothing else prints or exits."""

from __future__ import annotations

import dataclasses
import errno
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from device import adb, socs, stored, virtual
from device.cache import cache_root
from device.errors import BadInput, NoPhone, SmoothdroidError
from device.phone import Phone, describe
from device.socs import Soc
from device.ssh import SshOptions
from device.target import Target
from device.targets import FORMS, open_target, the_only_one
from host import console, doctor, prompt
from host import deploy as deploying
from host.bench import artifact, campaign, masks, memory, plan, request, words
from host.bench.request import Request
from host.bench.results import Run, find_campaigns
from host.build import compile as compiler
from host.build import source, toolchain, variants
from host.build.licences import licences
from host.bundle import archive, contents
from host.farm import board, health, inventory
from host.farm.crew import Crew, Ended, Member
from host.model.inspect import inspect as inspect_gguf
from host.model.inspect import lines
from host.model.manifest import Manifest

if TYPE_CHECKING:
    from host.model.perplexity import Kernels
    from host.predict.roofline import Expected
    from host.query.ask import Answer

MOST_ROWS = 200
"""Of an answer on a terminal."""

app = typer.Typer(
    name="smoothdroid",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SmoothQuant, Q8_0 GGUF and llama.cpp on Android phones, measured so that the numbers can be believed.",
    epilog="Exit status: 0 done, 1 some cells failed or became slower, 2 wrong usage or input, 3 no phone.",
)
phone_app = typer.Typer(no_args_is_help=True, help="The emulated phone: real adbd, real sshd, arm64 under qemu.")
app.add_typer(phone_app, name="phone")
farm_app = typer.Typer(no_args_is_help=True, help="Phones on many machines, through Dask (smoothdroid[farm]).")
app.add_typer(farm_app, name="farm")
plan_app = typer.Typer(no_args_is_help=True, help="Plan files: what `smoothdroid bench PLAN.toml` measures.")
app.add_typer(plan_app, name="plan")

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
On = Annotated[str | None, typer.Option("--on", metavar="TARGET", help=f"{FORMS}. Default: the one phone attached.")]
SshKey = Annotated[Path | None, typer.Option(help="Private key for an ssh:// target. Default: agent and ~/.ssh.")]
KnownHosts = Annotated[Path | None, typer.Option(help="Instead of ~/.ssh/known_hosts.")]
AcceptHostKey = Annotated[
    str | None, typer.Option(metavar="SHA256:...", help="Trust an ssh:// target that shows exactly this fingerprint.")
]
LlamaCpp = Annotated[Path | None, typer.Option(help="A llama.cpp checkout of your own instead of the pinned source.")]

DEPLOYED = ("llama-bench", "llama-completion")


def main() -> None:
    """The `smoothdroid` command."""
    try:
        app()
    except SmoothdroidError as error:
        console.error(str(error))
        sys.exit(error.exit_status)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = error.filename or "no file named"
            console.error(f"the disk is full ({place}): make room, and run the command again")
        elif error.errno in (errno.EACCES, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EROFS) and error.filename:
            console.error(f"{error.filename}: {error.strerror}")
        else:
            raise
        sys.exit(BadInput.exit_status)


def _show_version(wanted: bool) -> None:
    if wanted:
        versions = f"llama.cpp {source.PINNED_COMMIT}, Python {platform.python_version()}"
        console.out.print(f"smoothdroid {version('smoothdroid')} ({versions})", soft_wrap=True, highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command("doctor", epilog="Example: smoothdroid doctor --json")
def doctor_command(json: Json = False) -> None:
    """Look at what this machine has, what it lacks, and what to do about it."""
    checks = doctor.examine()
    if json:
        console.facts([dataclasses.asdict(check) for check in checks])
        return
    rows = [[check.needed_for, check.what, "ok" if check.ok else "missing", check.detail] for check in checks]
    console.table("", ["for", "what", "", "found, or what to do"], rows)


@app.command(epilog="Example: smoothdroid sample models/SmolLM2-135M-Instruct")
def sample(
    output: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("models/SmolLM2-135M-Instruct"),
) -> None:
    """Make a small trained checkpoint to try things on (SmolLM2-135M-Instruct, Apache-2.0)."""
    _need_torch()
    from host.model.sample import make_sample

    console.out.print(str(make_sample(output, on_step=console.step)), soft_wrap=True)


@app.command(
    epilog="Example: smoothdroid prepare models/llama2-7b -o out --alpha 0.5 --n-samples 16, or: "
    "smoothdroid prepare models/llama2-7b -o out --alpha auto --kernel kleidiai --folds norm,up-down,v-o,rotate"
)
def prepare(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder: config.json, *.safetensors, tokenizer.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the GGUF files.")],
    alpha: Annotated[
        str,
        typer.Option(
            help="How much of the outliers moves into the weights: 0 to 1, one for each fold (norm=0.5,up-down=0.3), "
            "or auto, which measures fold by fold on the kernel's arithmetic."
        ),
    ] = "0.5",
    folds: Annotated[
        str | None,
        typer.Option(help="Some of norm, up-down, v-o, rotate. Default: norm; with --alpha auto all but rotate."),
    ] = None,
    kernel: Annotated[str, typer.Option(help="Whose arithmetic --alpha auto measures on: ggml, or kleidiai.")] = "ggml",
    types: Annotated[str, typer.Option("--type", help="Some of q8_0, q4_0, f16, f32: a file each.")] = "q8_0",
    plain: Annotated[
        bool | None,
        typer.Option(
            help="Only the unsmoothed GGUF, of any architecture that llama.cpp converts; --no-plain: only the "
            "smoothed one. Default: both, to compare."
        ),
    ] = None,
    untie: Annotated[
        bool, typer.Option(help="Let rotate give a head that is tied to the embedding a tensor of its own.")
    ] = False,
    n_samples: Annotated[int, typer.Option(help="Windows of calibration text.")] = 16,
    seq_len: Annotated[int, typer.Option(help="Tokens in a window.")] = 512,
    calib: Annotated[Path | None, typer.Option(help="Calibration text. Default: Python's own documentation.")] = None,
    save_hf: Annotated[
        Path | None, typer.Option(help="Also save the smoothed checkpoint here, for transformers.")
    ] = None,
    device: Annotated[str, typer.Option(help="What calibrates: auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the choice of windows, and of the rotation.")] = 0,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Apply SmoothQuant to a checkpoint and write it as a GGUF, layer by layer, in little memory."""
    _need_torch()
    from host.model.prepare import Settings, parse_types
    from host.model.prepare import prepare as prepare_model
    from host.report import strengths_plot

    settings = Settings(
        types=parse_types(types),
        smooth=plain is not True,
        plain=plain is not False,
        alpha=alpha,
        folds=folds,
        kernel=kernel,
        untie=untie,
        n_samples=n_samples,
        seq_len=seq_len,
        calib=calib,
        seed=seed,
        device=device,
    )
    origin = source.unpacked(_source(llama_cpp))
    with console.bar() as bar:
        prepared = prepare_model(
            model,
            output,
            settings,
            llama_cpp=origin.folder,
            llama_cpp_id=origin.id,
            save_hf=save_hf,
            on_step=console.step,
            on_progress=bar.update,
        )
    pictures = [strengths_plot.write(made.manifest, made.path) for made in prepared if _was_searched(made.manifest)]
    if json:
        console.facts([{"path": str(made.path), **made.manifest.model_dump(mode="json")} for made in prepared])
        return
    for made in prepared:
        again = " (was there)" if made.reused else ""
        console.out.print(f"{made.path}  {made.size_bytes / 1e6:.0f} MB{again}", soft_wrap=True)
    for picture in pictures:
        console.out.print(str(picture), soft_wrap=True)


def _was_searched(manifest: Manifest) -> bool:
    return bool(manifest.outcome and manifest.outcome.held_out and manifest.outcome.strengths)


@app.command(epilog="Example: smoothdroid inspect out/llama2-7b-smooth-q8_0.gguf")
def inspect(
    gguf: Annotated[Path, typer.Argument(help="A GGUF file.")],
    json: Json = False,
) -> None:
    """Tell what a GGUF is and how it was made: source, folds, strengths, proof. It is read from the file itself."""
    found = inspect_gguf(gguf)
    if json:
        console.facts(found.model_dump(mode="json"))
        return
    told = lines(found)
    width = max(len(what) for what, _ in told)
    for what, value in told:
        console.out.print(f"{what:{width}}  {value}", soft_wrap=True)


@app.command(epilog="Example: smoothdroid build --abi arm64-v8a --isa i8mm")
def build(
    abi: Annotated[str | None, typer.Option(help=f"{', '.join(variants.ABIS)}. Default: the phones'.")] = None,
    isa: Annotated[
        str | None, typer.Option(help="ISA level. Default: the best for the phones at hand, or all.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every ISA level, whatever phones are at hand.")] = False,
    static: Annotated[
        bool, typer.Option("--static", help="With zig, though there is an NDK: for Linux that is not Android.")
    ] = False,
    on: On = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Compilers at once.")] = 2,
    kleidiai: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|download",
            help="With Arm's kernels: from their source tree, or as cmake downloads them. Then --isa LEVEL+kleidiai "
            "runs it.",
        ),
    ] = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Build llama.cpp for phones, with an NDK (ANDROID_NDK, or the newest of an Android SDK), else with zig; or for
    this machine (--abi host).

    Which ISA level: the one that --isa names; else, with an NDK, all in one build. With zig, the best that the phone
    of --on, or each phone attached, can run; with --all, or no phone at hand, every level. A phone without Android's
    loader, as the emulated one, gets static binaries, which only zig makes.
    """
    if every and (isa or on):
        raise BadInput("--all builds every level, for any phone: leave --isa and --on out")
    phones = []
    if isa is None and not every and abi != "host":
        phones = _phones_at_hand(on, SshOptions(ssh_key, known_hosts, accept_host_key))
    origin = _source(llama_cpp)
    with_kleidiai = source.kleidiai(None if kleidiai == "download" else Path(kleidiai)) if kleidiai else None
    static = static or not all(phone.bionic for phone in phones)
    shared = isa is None and abi != "host" and toolchain.decide(abi or "arm64-v8a", static=static).road == "ndk"
    builds = []
    for variant in variants.choose(abi, isa, [(phone.abi, phone.features) for phone in phones], shared=shared):
        builds.append(_built(variant, origin, jobs, with_kleidiai, static=static))
    if json:
        console.facts([{"folder": str(made.folder), "hit": made.hit, **made.manifest.model_dump()} for made in builds])
        return
    for made in builds:
        console.out.print(f"{made.folder}  ({'cached' if made.hit else 'built'})", soft_wrap=True)


@app.command(epilog="Example: smoothdroid bundle out/llama2-7b/*-smooth-q8_0.gguf -o llama2-7b-termux.tar.zst")
def bundle(
    output: Annotated[Path, typer.Option("-o", "--output", help=f"The file: {', '.join(archive.SUFFIXES)}.")],
    models: Annotated[list[Path] | None, typer.Argument(help="GGUF files; run.sh takes the first by itself.")] = None,
    no_models: Annotated[bool, typer.Option("--no-models", help="Binaries only: for phones that have models.")] = False,
    abi: Annotated[str, typer.Option(help="Of the phones: arm64-v8a or x86_64.")] = "arm64-v8a",
    built_only: Annotated[bool, typer.Option("--built-only", help="Only the ISA levels that were built.")] = False,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Compilers at once.")] = 2,
    force: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Pack models and binaries into one file that runs on a phone with nothing but Termux.

    In it are builds of every ISA level, made where they are not there yet (on the phone, run.sh takes the best that
    its CPUs run), checksums, licences, and a README for whoever gets it. The same input makes the same bytes.
    """
    # A slip of the finger should not cost the hashing of 7 GB.
    archive.check_output(output, replace=force)
    if bool(models) == no_models:
        raise BadInput("name the models to pack, or say --no-models" + (", not both" if models else ""))
    origin = _source(llama_cpp)
    if built_only:
        builds = contents.built(abi, origin)
    else:
        shared = toolchain.decide(abi).road == "ndk"
        levels = contents.wanted(abi, shared=shared)
        builds = [compiler.find([level], origin) or _built(level, origin, jobs) for level in levels]
    contents.check_tools(builds)
    packed = contents.Contents(
        builds,
        [artifact.inspect(model, on_step=console.step) for model in models or []],
        licences(source.unpacked(origin), builds),
    )
    entries = contents.entries(packed, output)
    missing = contents.not_built(packed)
    if missing:
        console.step(f"not built, so not in it: {', '.join(missing)} (without --built-only they will be)")
    with console.bar() as bar:
        archive.write(
            entries, output, on_progress=lambda done, total: bar.update("packing MiB", done >> 20, total >> 20)
        )
    size = output.stat().st_size
    if json:
        told = {"path": str(output), "size_bytes": size, "not_built": missing, "unpack": contents.unpack_lines(output)}
        console.facts({**told, **contents.facts(packed)})
        return
    console.out.print(f"{output}  {size / 1e6:.0f} MB", soft_wrap=True)
    console.step(f"in Termux: {' && '.join(contents.unpack_lines(output))}, then README.md in {archive.stem(output)}")


def _built(
    variant: variants.Variant,
    origin: source.Source,
    jobs: int,
    kleidiai: source.KleidiAI | None = None,
    *,
    static: bool = False,
) -> compiler.Build:
    tools = toolchain.for_abi(variant.abi, static=static)
    why, added = f" ({tools.why})" if tools.why else "", " and KleidiAI" if kleidiai else ""
    console.step(f"llama.cpp {origin.commit}{added} for {variant.name}, with {tools.id}{why}")
    with console.bar() as bar:
        update = partial(bar.update, "compiling")
        return compiler.build(variant, origin, tools, kleidiai=kleidiai, jobs=jobs, on_progress=update)


def _phones_at_hand(on: str | None, ssh: SshOptions) -> list[Phone]:
    """The phone of --on; without it those attached that answer, which may be none."""
    if on:
        with _reached(on, ssh) as (_, phone):
            return [phone]
    try:
        attached = _attached()
    except NoPhone as error:  # a machine that only builds needs no adb
        console.step(str(error))
        return []
    return list(_look_at(attached, ssh)[0].values())


@app.command(
    epilog="Example: smoothdroid devices -v\n\n"
    "A lab's health: smoothdroid devices --farm farm.toml. In the file, for each phone: [phones.NAME], on, "
    "labels, models"
)
def devices(
    on: Annotated[list[str] | None, typer.Option("--on", metavar="TARGET", help=f"Also look at {FORMS}.")] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Temperatures and the ISA level too.")] = False,
    farm: Annotated[Path | None, typer.Option(metavar="FARM.TOML", help="A lab's phones, and how they are.")] = None,
    release: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --farm: end this phone's quarantine. Repeatable.")
    ] = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    json: Json = False,
) -> None:
    """List the phones that can be reached, and what they are."""
    ssh = SshOptions(ssh_key, known_hosts, accept_host_key)
    if farm:
        if on or verbose:
            raise BadInput("--farm shows the phones of its file, without --on or --verbose")
        _farm_health(farm, release or [], ssh, json)
        return
    if release:
        raise BadInput("--release needs --farm FARM.TOML, where the phone stands")
    found, problems = _look_at(sorted(set(_attached()) | set(on or [])), ssh)
    if json:
        console.facts([{"target": name, **phone.model_dump()} for name, phone in found.items()])
    elif found:
        columns = ["target", "phone", "SoC", "Android", "CPUs", "memory", "free", "battery"]
        rows = [[name, *_summary(phone)] for name, phone in found.items()]
        console.table("", columns, rows)
        if verbose:
            for name, phone in found.items():
                _details(name, phone)
    for problem in problems:
        console.error(str(problem))
    if problems:
        raise typer.Exit(max(problem.exit_status for problem in problems))
    if not found:
        the_only_one()  # raises NoPhone and says what to do


def _farm_health(farm: Path, release: Sequence[str], ssh: SshOptions, json: bool) -> None:
    listed = inventory.read(farm)
    ledger = health.Ledger(farm, listed.quarantine_after)
    opened = partial(open_target, ssh=ssh)
    for member in listed.members(opened, release) if release else []:
        ledger.release(member.name)
    found = health.look(listed.members(opened), ledger.read())
    if json:
        console.facts([one.facts() for one in found])
    else:
        console.table("", health.COLUMNS, [one.cells() for one in found])
    for one in found:
        if one.error:
            console.error(f"{one.member.name}: {one.error}")
        if one.record.quarantined:
            console.step(f"{one.member.name} is in quarantine: {one.record.why}")
    if statuses := [one.error.exit_status for one in found if one.error and not one.record.quarantined]:
        raise typer.Exit(max(statuses))


def _ways(named: Sequence[str]) -> list[str]:
    """Each once, and for `all` those that are attached."""
    return list(dict.fromkeys(name for way in named for name in (_attached() if way == "all" else [way])))


def _attached() -> list[str]:
    emulated = {phone.adb_address: phone.name for phone in virtual.running()}
    serials = [serial for serial in adb.attached() if serial not in emulated]
    return [f"adb:{serial}" for serial in serials] + [f"virtual:{name}" for name in emulated.values()]


def _look_at(names: Sequence[str], ssh: SshOptions) -> tuple[dict[str, Phone], list[SmoothdroidError]]:
    found: dict[str, Phone] = {}
    problems: list[SmoothdroidError] = []
    for name in names:
        try:
            with _reached(name, ssh) as (_, phone):
                found[name] = phone
        except SmoothdroidError as error:
            problems.append(error)
    return found, problems


def _summary(phone: Phone) -> list[str]:
    battery = phone.battery
    charge = "-" if battery.level_percent is None else f"{battery.level_percent} %"
    return [
        phone.model + (" (emulated)" if phone.emulated else ""),
        phone.soc,
        phone.android or "-",
        " + ".join(map(str, phone.clusters)),
        f"{phone.available_mb / 1024:.1f} of {phone.memory_mb / 1024:.1f} GiB",
        f"{phone.free_mb / 1024:.1f} GiB",
        charge + (", charging" if battery.charging else ""),
    ]


def _details(name: str, phone: Phone) -> None:
    console.out.print(f"\n{name}: {phone.model}, id {phone.id}, kernel {phone.kernel}, {phone.abi}")
    chosen = variants.explain(phone)
    console.out.print(f"  ISA level: {chosen.level.isa if chosen.level else 'none'}; {chosen.reason}", soft_wrap=True)
    for cluster in phone.clusters:
        console.out.print(f"  CPUs {', '.join(map(str, cluster.cpus))}: {cluster.name}, {cluster.max_mhz or '?'} MHz")
    for zone, celsius in phone.celsius.items():
        console.out.print(f"  {zone}: {celsius:.1f} °C")


@app.command(
    epilog="Example: smoothdroid bench out/llama2-7b/*.gguf --on adb:SERIAL --threads 1-8 -o results/\n\n"
    "Compare two fairly: smoothdroid bench A.gguf B.gguf --cpus big+mid --cool start+2 --until 2%\n\n"
    "From a file: smoothdroid bench plan.toml\n\n"
    "On many phones: smoothdroid bench plan.toml --on adb:A --on adb:B@host2:5037 --on ssh://u@phone:8022 --share\n\n"
    "A lab: smoothdroid bench plan.toml --farm farm.toml; many machines: --farm tcp://127.0.0.1:8786"
)
def bench(
    models: Annotated[list[Path], typer.Argument(help="GGUF files, or one plan (.toml) that names them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path("results"),
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on", metavar="TARGET", help=f"{FORMS}. Again for more phones; all: every one. Default: the one attached."
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
        typer.Option(help="1,2,4 or 1-8 or 2-8+2 or 1-8*2, as in llama-bench. Default: 1, 2, 4 ... as CPUs allow."),
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
        int | None, typer.Option("-r", "--repetitions", help="In each process of a cell. Default: 5.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Processes of each cell, all taking turns. Default: 1.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="More rounds until half the interval is below this, as 2%.")
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
    depth: Annotated[str | None, typer.Option(help="Tokens in the KV cache beforehand. Default: 0.")] = None,
    batch: Annotated[str | None, typer.Option(help="Logical batch sizes, as llama-bench's -b.")] = None,
    ubatch: Annotated[str | None, typer.Option(help="Physical batch sizes, as llama-bench's -ub.")] = None,
    cache_k: Annotated[str | None, typer.Option(metavar="TYPES", help="Of the KV cache's keys: f16,q8_0 ...")] = None,
    cache_v: Annotated[str | None, typer.Option(metavar="TYPES", help="Of its values.")] = None,
    flash_attention: Annotated[str | None, typer.Option(metavar="on,off,auto", help="To try.")] = None,
    mmap: Annotated[str | None, typer.Option(metavar="on,off", help="To try: weights mapped, or read.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the order in which cells take turns. Default: 0.")] = None,
    force: Annotated[bool, typer.Option(help="Try cells that do not fit in the phone's memory.")] = False,
    isa: Annotated[str | None, typer.Option(help="ISA level. Default: the best that was built and runs there.")] = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Measure models on a phone: prefill and decode over threads, CPUs and settings; real prompts; heat."""
    given = {name: value for name, value in locals().items() if name in Request.model_fields and name != "models"}
    asked = _asked(models, {name: value for name, value in given.items() if value is not None})
    # A slip of the finger should not cost the hashing of 7 GB.
    plan.check(asked)
    options = SshOptions(ssh_key, known_hosts, accept_host_key)
    workshop = _Workshop(isa, _source(llama_cpp), force)
    if farm and farm.startswith(("tcp://", "tls://")):
        _need_dask()
        from host.farm.remote import Farm

        with closing(Farm(farm)) as lent:
            _bench_many(Crew(lent.members(on or []), asked, output, workshop, share=share), json)
        return
    if farm:
        fit, ledger = _fit_for_work(Path(farm), on or [], options)
        _bench_many(Crew(fit, asked, output, workshop, share=share), json, ledger)
        return
    ways = list(dict.fromkeys(on or [the_only_one()]))
    if share or "all" in ways or len(ways) > 1:
        members = [Member(name, name, partial(open_target, name, options)) for name in _ways(ways)]
        if not members:
            raise NoPhone("no phone is attached: plug some in, or name them with --on")
        _bench_many(Crew(members, asked, output, workshop, share=share), json)
        return
    (way,) = ways
    with _reached(way, options) as (target, phone), console.bar() as bar:
        mine = asked.on(phone, {way, target.name})
        if mine is None:
            raise BadInput(f"the plan is for other phones than {phone.model}: see `phones` in it")
        binaries = workshop.binaries(target, phone)
        artifacts = [artifact.inspect(model, on_step=console.step) for model in request.files(mine.models)]
        planned = plan.make(artifacts, mine, phone)
        workshop.check(planned, phone)
        watch = campaign.Watch(
            on_step=console.step,
            on_push=lambda done, total: bar.update("sending MiB", done >> 20, total >> 20),
            on_cell=lambda cell, number, total: bar.update("measuring", number - 1, total),
            on_run=_say_run,
        )
        reopen = partial(open_target, way, options)
        outcome = campaign.run_campaign(planned, target, phone, binaries, output, watch, reopen=reopen)
    from host.report import rows

    if json:
        runs = [run.model_dump(mode="json") for run in (*outcome.measured, *outcome.failed)]
        facts = [rows.as_facts(section) for section in rows.load([outcome.folder])]
        console.facts({"folder": str(outcome.folder), "kept": outcome.kept, "runs": runs, "cells": facts[0]["rows"]})
    else:
        _print_tables([outcome.folder])
        console.out.print(
            f"{outcome.folder}  ({len(outcome.measured)} measured, {len(outcome.failed)} failed, "
            f"{outcome.kept} kept from before)",
            soft_wrap=True,
        )
    if outcome.failed:
        raise typer.Exit(1)


@farm_app.command(
    "scheduler",
    epilog="Example: smoothdroid farm scheduler tcp://10.0.0.1:8786\n\n"
    "Where others are too: smoothdroid farm scheduler tls://10.0.0.1:8786, with certificates in Dask's configuration",
)
def farm_scheduler(
    listen: Annotated[str, typer.Argument(help="Where to listen.")] = "tcp://127.0.0.1:8786",
) -> None:
    """What lab machines and controllers meet at; until Ctrl-C."""
    _need_dask()
    from host.farm import lab

    lab.schedule(listen, console.step)


@farm_app.command("worker", epilog="Example: smoothdroid farm worker tcp://127.0.0.1:8786 --farm farm.toml --name desk")
def farm_worker(
    scheduler: Annotated[str, typer.Argument(help="tcp://HOST:8786 or tls://HOST:8786.")],
    on: Annotated[
        list[str] | None, typer.Option("--on", metavar="TARGET", help=f"{FORMS}; repeatable. Default: all attached.")
    ] = None,
    farm: Annotated[Path | None, typer.Option(metavar="FARM.TOML", help="The phones of an inventory.")] = None,
    name: Annotated[str, typer.Option(help="Of this machine, before the phones' names.")] = platform.node(),
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
) -> None:
    """Lend this machine's phones to a scheduler; until Ctrl-C, which stops nothing that a phone measures."""
    _need_dask()
    from host.farm import lab

    options = SshOptions(ssh_key, known_hosts, accept_host_key)
    if farm:
        members, _ = _fit_for_work(farm, on or [], options)
    else:
        members = [Member(way, way, partial(open_target, way, options)) for way in dict.fromkeys(on or _attached())]
    if not members:
        raise NoPhone("no phone is attached: plug some in, or name them with --on")
    lab.work(scheduler, name, members, console.step)


def _need_dask() -> None:
    if find_spec("distributed") is None:
        raise BadInput("phones on many machines need Dask: pip install 'smoothdroid[farm]'")


@dataclasses.dataclass(frozen=True)
class _Workshop:
    """What bench needs beside host/bench: builds, and the look at a phone's memory."""

    isa: str | None
    origin: source.Source
    force: bool

    def binaries(self, target: Target, phone: Phone) -> campaign.Binaries:
        built = _build_for(target, phone, self.isa, self.origin)
        made = built.manifest
        reason = _why(built, phone, self.isa)
        return campaign.Binaries(made.id, made.isa, made.commit, _tools(built), _beside(built), reason)

    def check(self, planned: plan.Plan, phone: Phone) -> None:
        if not self.force:
            memory.check_plan(planned, phone.available_mb)

    def say(self, text: str, *, matters: bool) -> None:
        if matters or not console.err.is_terminal:  # else the table shows it
            console.step(text)


def _fit_for_work(farm: Path, names: Sequence[str], options: SshOptions) -> tuple[list[Member], health.Ledger]:
    listed = inventory.read(farm)
    ledger = health.Ledger(farm, listed.quarantine_after)
    fit, said = ledger.fit_for_work(listed.members(partial(open_target, ssh=options), names))
    for reason in said:
        console.step(reason)
    if not fit:
        raise NoPhone("no phone is left to work on")
    return fit, ledger


def _bench_many(crew: Crew, json: bool, ledger: health.Ledger | None = None) -> None:
    with console.board(board.COLUMNS, lambda: [row.cells() for row in crew.rows]):
        ended = crew.run()
    for reason in ledger.note_all(ended) if ledger else []:
        console.step(reason)
    if json:
        console.facts({"phones": [_part_facts(one) for one in ended]})
    else:
        folders = [one.outcome.folder for one in ended if one.outcome]
        if folders:
            _print_tables(folders)
        said = [[one.member.name, one.phone.model if one.phone else "-", *_became(one)] for one in ended]
        console.table("", ["phone", "model", "measured", "failed", "kept", "results, or what went wrong"], said)
    failed = any(run.failure for one in ended for run in one.runs)
    if status := max([int(failed), *(one.error.exit_status for one in ended if one.error)]):
        raise typer.Exit(status)


def _became(ended: Ended) -> list[str]:
    measured = sum(run.failure is None for run in ended.runs)
    kept = str(ended.outcome.kept) if ended.outcome else "-"
    why = str(ended.error or ended.why_none or (ended.outcome.folder if ended.outcome else ""))
    return [str(measured), str(len(ended.runs) - measured), kept, why]


def _part_facts(ended: Ended) -> dict[str, Any]:
    from host.report import rows

    folder = ended.outcome.folder if ended.outcome else None
    return {
        "name": ended.member.name,
        "target": ended.member.on,
        "phone": ended.phone.model_dump() if ended.phone else None,
        "folder": str(folder) if folder else None,
        "kept": ended.outcome.kept if ended.outcome else None,
        "runs": [run.model_dump(mode="json") for run in ended.runs],
        "cells": rows.as_facts(rows.load([folder])[0])["rows"] if folder else [],
        "error": str(ended.error) if ended.error else None,
        "nothing_to_do": ended.why_none or None,
    }


def _asked(models: Sequence[Path], given: dict[str, Any]) -> Request:
    """A plan file's words, or the defaults, and over them those of the command line."""
    plans = [path for path in models if path.suffix == ".toml"]
    if plans and len(models) > 1:
        raise BadInput(f"{plans[0]} is a plan, which names its models: give it alone")
    base = request.read(plans[0]) if plans else Request(models=[str(model) for model in models])
    return base.with_words(given)


def _print_tables(places: Sequence[Path]) -> None:
    from host.report import rows, tables

    for section in rows.load(places):
        console.out.print(tables.terminal(section))


@plan_app.command("check", epilog="Example: smoothdroid plan check plan.toml --on adb:SERIAL")
def plan_check(
    file: Annotated[Path, typer.Argument(help="A plan (.toml).")],
    on: Annotated[str | None, typer.Option("--on", metavar="TARGET", help="Check it against this phone too.")] = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
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
    with _reached(on, SshOptions(ssh_key, known_hosts, accept_host_key)) as (target, phone):
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
        [cell.model, cell.test.name, masks.label(cell.cpus, phone.clusters), str(cell.threads), str(cell.options)]
        for cell in cells
    ]
    console.table(f"{len(cells)} cells on {phone.model}", ["model", "test", "CPUs", "threads", "settings"], rows)


def _say_run(run: Run) -> None:
    cell = run.cell
    rates = ", ".join(f"{rate:.2f}" for rate in run.tokens_per_s)
    where = f" on CPUs {masks.listed(cell.cpus)}" if cell.cpus else ""
    what = ", ".join(filter(None, [cell.model, cell.test.name, f"{cell.threads} threads{where}", str(cell.options)]))
    what += f", round {run.round + 1}" if run.round else ""
    console.step(f"{what}: " + (f"failed: {run.failure}" if run.failure else f"{rates} tokens/s"))


@app.command(
    epilog='Example: smoothdroid run out/llama2-7b/*-smooth-q8_0.gguf --on ssh://user@phone:8022 -p "안녕하세요!"'
)
def run(
    model: Annotated[Path, typer.Argument(help="A GGUF file.")],
    text: Annotated[str, typer.Option("-p", "--prompt", help="What to say to it.")],
    on: On = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads on the phone.")] = 4,
    max_tokens: Annotated[int, typer.Option("-n", "--max-tokens", min=1, help="Longest answer.")] = 128,
    temp: Annotated[float, typer.Option(min=0, help="Temperature; 0: always the likeliest token.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    raw: Annotated[bool, typer.Option(help="Continue the text as it is, without the chat template.")] = False,
    isa: Annotated[str | None, typer.Option(help="ISA level. Default: the best that was built and runs there.")] = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Send one prompt to a model on a phone; the answer on stdout as it comes, its speed on stderr."""
    with _reached(on, SshOptions(ssh_key, known_hosts, accept_host_key)) as (target, phone):
        built = _build_for(target, phone, isa, _source(llama_cpp))
        with console.bar() as bar:
            deployed = prompt.deploy(
                target,
                _tools(built)["llama-completion"],
                artifact.inspect(model, on_step=console.step),
                beside=_beside(built),
                on_step=console.step,
                on_push=lambda done, total: bar.update("sending MiB", done >> 20, total >> 20),
            )
        sampling = prompt.Sampling(threads, max_tokens, temp, seed, raw)
        answer = prompt.ask(target, deployed, text, sampling, on_output=None if json else console.stream)
    timings = answer.timings
    if json:
        console.facts({"text": answer.text, "timings": timings.model_dump() if timings else None})
        return
    console.out.print()
    if timings is None:
        console.step("too short to time")
        return
    console.step(
        f"prefill {timings.prompt_tps} tokens/s ({timings.prompt_tokens} tokens), decode {timings.generated_tps} "
        f"tokens/s ({timings.generated_tokens} tokens)" + (", emulated: not a speed" if phone.emulated else "")
    )


@app.command(
    epilog="Example: smoothdroid evaluate out/llama2-7b-f32.gguf out/llama2-7b/*-{plain,smooth}-q8_0.gguf -o quality/"
)
def evaluate(
    reference: Annotated[Path, typer.Argument(help="The GGUF to measure the distance from: f32, f16 or bf16.")],
    candidates: Annotated[list[Path], typer.Argument(help="GGUF files; those after the first are compared with it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for figures and plot.")] = Path("quality"),
    text: Annotated[
        Path | None, typer.Option(help="What is predicted. Default: prose that calibration does not draw from.")
    ] = None,
    context: Annotated[int, typer.Option(help="Tokens in a window; the second half of each is predicted.")] = 512,
    chunks: Annotated[int, typer.Option(help="Windows of text.")] = 16,
    kernel: Annotated[
        str | None, typer.Option(help="ggml or kleidiai: emulate its arithmetic, instead of running llama.cpp.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="TARGET", help=f"Run the candidates there: {FORMS}. Default: here.")
    ] = None,
    isa: Annotated[str | None, typer.Option(help="With --on: ISA level. Default: the best that was built.")] = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Measure how far models are from a reference: KL divergence, perplexity, top-1 agreement.

    Through llama-perplexity, on this machine's kernels (`smoothdroid build --abi host`); the candidates on a phone's
    with --on, or with --kernel under an arithmetic that this machine has no kernels for. The reference's
    log-probabilities are kept in the cache: evaluating another candidate against it costs that candidate alone.
    """
    from host.model.evaluate import evaluate as compare_models
    from host.model.evaluation import write_evaluation
    from host.model.perplexity import HostKernels
    from host.model.prose import evaluation_prose
    from host.report import quality, quality_tables
    from host.report.quality_plot import write as write_quality

    ssh = SshOptions(ssh_key, known_hosts, accept_host_key)
    if kernel and on:
        raise BadInput("--kernel emulates kernels on this machine, and --on runs a phone's: give one of them.")
    if isa and not on:
        raise BadInput("--isa names a build for a phone: say which phone with --on.")
    prose, origin = evaluation_prose(text), _source(llama_cpp)
    built = compiler.find([variants.find("host", "native")], origin)
    if built is None:
        raise BadInput("llama.cpp has not been built for this machine: `smoothdroid build --abi host`")
    tool, sha256 = _tools(built)["llama-perplexity"]
    here = HostKernels(f"{built.manifest.abi}-{built.manifest.isa}, llama.cpp {built.manifest.commit}", sha256, tool)
    with console.bar() as bar, _other_kernels(kernel, on, isa, ssh, origin, bar) as kernels:
        inspected = [artifact.inspect(path, on_step=console.step) for path in (reference, *candidates)]
        found = compare_models(
            inspected[0],
            inspected[1:],
            prose,
            kernels or here,
            reference_kernels=here if kernels else None,
            logits_cache=cache_root() / "logits",
            context=context,
            windows=chunks,
            on_step=console.step,
            on_progress=bar.update,
        )
    written = [write_evaluation(found, output), *write_quality(found, output)]
    if json:
        console.facts(quality.as_facts(found))
        return
    console.out.print(quality_tables.terminal(found))
    for said in quality_tables.verdicts(found):
        console.out.print(said, soft_wrap=True)
    for path in written:
        console.out.print(str(path), soft_wrap=True)


@contextmanager
def _other_kernels(
    kernel: str | None, on: str | None, isa: str | None, ssh: SshOptions, origin: source.Source, bar: console.Bar
) -> Iterator[Kernels | None]:
    """What computes the candidates, where that is not this machine's llama-perplexity."""
    if kernel:
        _need_torch()
        from host.model.arithmetic import arithmetic_of
        from host.model.emulated_kernels import EmulatedKernels

        yield EmulatedKernels(arithmetic_of(kernel))
    elif on:
        from host.model.phone_kernels import PhoneKernels

        with _reached(on, ssh) as (target, phone):
            built = _build_for(target, phone, isa, origin)
            manifest, tools = built.manifest, _tools(built)
            if "llama-perplexity" not in tools:
                raise BadInput(
                    "this llama.cpp was built without llama-perplexity: "
                    f"`smoothdroid build --abi {manifest.abi} --isa {manifest.isa}`"
                )
            (tool, sha256), emulated = tools["llama-perplexity"], " (emulated)" if phone.emulated else ""
            name = f"{phone.model}{emulated}, {manifest.abi}-{manifest.isa}, llama.cpp {manifest.commit}"
            yield PhoneKernels(
                name,
                manifest.id if manifest.libraries else sha256,
                tool,
                target,
                lambda done, total: bar.update("moving MiB", done >> 20, total >> 20),
                _beside(built),
            )
    else:
        yield None


@app.command(epilog="Example: smoothdroid report results/ quality/ -o report/")
def report(
    results: Annotated[list[Path], typer.Argument(help="Folders with results and evaluations, however deep.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path("report"),
    json: Json = False,
) -> None:
    """Turn results into one page to look at, Markdown for a pull request, CSV and figures.

    The page needs no network. Of evaluations it takes the files that `smoothdroid evaluate` wrote.
    """
    from host.report import inputs, rows, tables
    from host.report.write import write

    found = inputs.load(results)
    for damaged in found.damage:
        console.step(f"left out: {damaged}")
    with console.bar() as bar:
        written = write(found, output, bar.update)
    if json:
        console.facts([rows.as_facts(section) for section in found.sections])
        return
    for section in found.sections:
        console.out.print(tables.terminal(section))
    for path in written:
        console.out.print(str(path), soft_wrap=True)


@app.command(epilog="Example: smoothdroid compare results/before results/after --threshold 5%")
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder with results: before.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder with results: after.")],
    threshold: Annotated[
        str, typer.Option(metavar="PERCENT", help="Exit with 1 where B is significantly slower, by more than this.")
    ] = "5%",
    json: Json = False,
) -> None:
    """Say of each cell of two results whether B is faster, slower, or not significantly different."""
    from host.report import compare as comparison
    from host.report import compare_tables

    compared = comparison.load(a, b, words.share(threshold, "--threshold"))
    if json:
        console.facts(comparison.as_facts(compared))
    else:
        for table in compare_tables.terminal(compared):
            console.out.print(table)
        for line in compare_tables.said(compared):
            console.out.print(line, soft_wrap=True)
    if compared.regressions:
        raise typer.Exit(1)


@app.command(
    epilog='Example: smoothdroid query "SELECT phone, test, max(tokens_per_s) FROM cells GROUP BY ALL" results/\n\n'
    'A file of all: smoothdroid query "FROM cells" results/ --parquet cells.parquet\n\n'
    "What can be asked: smoothdroid query --tables"
)
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT, in DuckDB's SQL.")] = "",
    results: Annotated[list[Path] | None, typer.Argument(help="Folders with results. Default: results.")] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Print the tables, their columns and what they say.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the answer here.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the answer here.")] = None,
    force: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Judge anew what seems unchanged, too.")] = False,
    json: Json = False,
) -> None:
    """Ask all results one question in SQL: campaigns, their cells with verdicts and intervals, their runs.

    Verdicts come from the results folders, which stay the record, and are kept in an index in the cache: the first
    question about a campaign takes longer. The index may be deleted. A damaged campaign is named and left out.
    """
    from host.query import ask, index
    from host.query.tables import TABLES
    from host.report.rows import NOT_A_SPEED

    if tables:
        if json:
            console.facts({table.name: [dataclasses.asdict(column) for column in table.shown] for table in TABLES})
            return
        for table in TABLES:
            rows = [[column.name, column.kind, column.says] for column in table.shown]
            console.table(f"{table.name}: {table.says}", ["column", "type", "what it says"], rows)
        return
    if not sql:
        raise BadInput('what is the question? `smoothdroid query "FROM cells"`; `--tables` says what can be asked')
    if sum((json, bool(csv), bool(parquet))) > 1:
        raise BadInput("--json, --csv and --parquet: an answer goes to one of them")
    output = ask.Output(csv, "csv") if csv else ask.Output(parquet, "parquet") if parquet else None
    if output:
        output.check(replace=force)
    ask.check(sql)  # a slip of the finger should not cost the judging
    folders = find_campaigns(results or [Path("results")])
    with ExitStack() as held:
        with console.bar() as bar:
            current = held.enter_context(
                index.current(folders, again=again, on_progress=bar.update, on_step=console.step)
            )
        answer = held.enter_context(ask.asked(sql, current, output))
        if output:
            answer.write(output)
            console.out.print(str(output.path), soft_wrap=True)
        elif json:
            answer.check_names()
            console.facts([dict(zip(answer.columns, row, strict=True)) for row in answer.rows()])
        else:
            _print_answer(answer)
        if ask.is_emulated(current):
            console.step(NOT_A_SPEED)
    for damage in current.damaged:
        console.error(f"left out: {damage}")
    if current.damaged:
        raise typer.Exit(1)


def _print_answer(answer: Answer) -> None:
    rows = list(answer.rows(MOST_ROWS + 1))
    console.table("", answer.columns, [[_shown(value) for value in row] for row in rows[:MOST_ROWS]])
    if len(rows) > MOST_ROWS:
        console.step(f"the first {MOST_ROWS} rows; --csv, --parquet and --json give all")


def _shown(value: object) -> str:
    """For a person to read: six digits are more than any of these measurements has."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@app.command(epilog="Example: smoothdroid deploy out/llama2-7b-smooth-q8_0.gguf --on all")
def deploy(
    models: Annotated[list[Path] | None, typer.Argument(help="GGUF files. Default: the programs only.")] = None,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="TARGET", help=f"{FORMS}. Again for more phones; all: every one attached."),
    ] = None,
    isa: Annotated[str | None, typer.Option(help="ISA level. Default: the best that was built and runs there.")] = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Put models and llama.cpp on phones, several at once. What is there is not sent again.

    A transfer that was cut off, by Ctrl-C or a cable, goes on where it stopped when the same command is given again.
    """
    origin = _source(llama_cpp)
    open_ = partial(open_target, ssh=SshOptions(ssh_key, known_hosts, accept_host_key))
    ways = _ways(on or [the_only_one()])
    if not ways:
        raise NoPhone("no phone is attached: plug some in, or name them with --on")
    found = [artifact.inspect(model, on_step=console.step) for model in models or []]

    def programs(target: Target, phone: Phone) -> deploying.Programs:
        built = _build_for(target, phone, isa, origin)
        return deploying.Programs([_tools(built)[tool] for tool in DEPLOYED], _beside(built))

    with console.transfers() as shown:
        done = deploying.to_all(ways, open_, programs, found, shown)
    if json:
        console.facts(
            [
                {"target": one.way, "sent": one.sent, "took_s": one.took_s, "error": str(one.error or "") or None}
                for one in done
            ]
        )
    else:
        rows = [
            [
                one.way,
                one.phone.model if one.phone else "-",
                str(one.error) if one.error else ", ".join(one.sent) or "nothing: all was there",
                f"{one.took_s:.1f} s",
            ]
            for one in done
        ]
        console.table("", ["target", "phone", "sent", "took"], rows)
    if failed := [one.error.exit_status for one in done if one.error]:
        raise typer.Exit(max(failed))


@phone_app.command("df", epilog="Example: smoothdroid phone df --on adb:SERIAL")
def phone_df(
    on: On = None,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    json: Json = False,
) -> None:
    """Show what smoothdroid keeps on a phone, when it was last used, and what is free."""
    with _reached(on, SshOptions(ssh_key, known_hosts, accept_host_key)) as (target, phone):
        kept = stored.listing(target)
    if json:
        console.facts({"free_mb": phone.free_mb, "stored": [dataclasses.asdict(one) for one in kept]})
        return
    console.table("", ["id", "name", "MiB", "last used", ""], [_stored_row(one) for one in kept])
    total = sum(one.size_bytes for one in kept) >> 20
    console.out.print(f"{total} MiB in {target.root}/store, {phone.free_mb} MiB free", soft_wrap=True)


@phone_app.command("clean", epilog="Example: smoothdroid phone clean --on adb:SERIAL --unused 7d")
def phone_clean(
    ids: Annotated[
        list[str] | None, typer.Argument(help="What to remove, by its id in `smoothdroid phone df`.")
    ] = None,
    on: On = None,
    unused: Annotated[
        str | None, typer.Option(metavar="TIME", help="Everything that was not used for so long: 12h, 7d; 0s for all.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    ssh_key: SshKey = None,
    known_hosts: KnownHosts = None,
    accept_host_key: AcceptHostKey = None,
    json: Json = False,
) -> None:
    """Remove models and programs from a phone, those that nothing at work there needs. They can be sent again."""
    if bool(ids) == (unused is not None):
        raise BadInput("name what to remove by its id (`smoothdroid phone df` lists them), or say --unused 7d")
    idle_s = words.seconds(unused, "--unused") if unused else 0.0
    with _reached(on, SshOptions(ssh_key, known_hosts, accept_host_key)) as (target, _):
        kept = stored.listing(target)
        if unknown := sorted(set(ids or []) - {one.id for one in kept}):
            raise BadInput(f"{target.name} has nothing with the id {', '.join(unknown)}: see `smoothdroid phone df`")
        chosen = [one for one in kept if (one.id in ids if ids else one.idle_s >= idle_s)]
        going = [one for one in chosen if not one.busy]
        for one in chosen:
            if one.busy:
                console.step(f"{one.name} stays: something at work on the phone needs it")
        if not dry_run:
            stored.evict(target, [one.id for one in going])
    if json:
        console.facts({"dry_run": dry_run, "removed": [dataclasses.asdict(one) for one in going]})
        return
    for one in going:
        console.out.print(f"{one.id}  {one.name}  ({one.size_bytes >> 20} MiB)", soft_wrap=True)
    total = sum(one.size_bytes for one in going) >> 20
    console.step(f"{total} MiB {'would be ' if dry_run else ''}removed")


def _stored_row(one: stored.Stored) -> list[str]:
    days, hours = divmod(one.idle_s // 3600, 24)
    when = f"{days} days ago" if days else f"{hours} h ago" if hours else "within the hour"
    state = "at work" if one.busy else "" if one.whole else "in part: goes on at the next deploy"
    return [one.id, one.name, str(one.size_bytes >> 20), when, state]


@app.command(
    epilog="Example: smoothdroid predict llama-2-7b --soc SM8550 --soc '8 Gen 3'\n\n"
    "A file, or a checkpoint as Q4_0: smoothdroid predict out/llama2-7b-smooth-q8_0.gguf; "
    "smoothdroid predict models/llama2-7b --type q4_0"
)
def predict(
    model: Annotated[
        str, typer.Argument(help="A GGUF, a checkpoint's folder (its config.json is enough), or a name: llama-2-7b.")
    ],
    soc: Annotated[
        list[str] | None, typer.Option(metavar="SOC", help="SM8550, 'Snapdragon 8 Gen 2'; several. Default: all.")
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Of the weights of a checkpoint or a name. Default: q8_0.")
    ] = None,
    depth: Annotated[int, typer.Option(min=0, max=2**20, help="Tokens in the KV cache before decode.")] = 0,
    json: Json = False,
) -> None:
    """Say what speed to expect of a model on a phone's CPU, and what no phone with that SoC can reach.

    A roofline: decode is bound by the DRAM's bandwidth, prefill by the cores' arithmetic. The interval comes from how
    much of both llama.cpp reached in the few measurements that were published; docs/predictions.md tells how.
    """
    from host.predict import roofline, work
    from host.predict.efficiency import fitted

    rows = [_soc(name) for name in soc] if soc else list(socs.everything())
    asked, known = work.of(model, type_), fitted()
    found = [roofline.predict(asked, row, known, depth=depth) for row in rows]
    if json:
        facts = [{**dataclasses.asdict(one), "soc": one.soc.name, "codes": one.soc.codes} for one in found]
        console.facts({"model": dataclasses.asdict(asked), "depth": depth, "predictions": facts})
        return
    columns = ["SoC", "decode t/s", "95% interval", "ceiling", "prefill t/s", "95% interval", "ceiling"]
    console.table(
        f"{asked.name}: {asked.weights_bytes / 1e9:.3g} GB of weights for each token, at a depth of {depth}",
        columns,
        [[one.soc.name, *_expected(one.decode), *_expected(one.prefill)] for one in found],
    )
    console.step(
        f"expected, not measured: fitted on {known.decode.n} published measurements of {known.phones} phones; "
        "for a cool phone, its best number of threads, a prompt of some hundred tokens"
    )
    if any(one.decode is None for one in found):
        console.step("no decode: so small a model may lie in the caches, which the table does not hold")
    if any(one.prefill is None for one in found):
        console.step("no prefill: no source tells all cores of that SoC, or the model's matrices are not known")


def _soc(name: str) -> Soc:
    if found := socs.named(name):
        return found
    there = ", ".join(f"{row.codes[0]} ({row.name})" for row in socs.everything())
    raise BadInput(f"`{name}` is no SoC whose memory is known here; there are {there}")


def _expected(speed: Expected | None) -> list[str]:
    if speed is None:
        return ["-", "-", "-"]
    return [f"{speed.middle:.3g}", f"{speed.low:.3g} to {speed.high:.3g}", f"{speed.ceiling:.3g}"]


@phone_app.command("start", epilog="Example: smoothdroid phone start desk --profile pixel-8")
def phone_start(
    name: Annotated[str, typer.Argument(help="How to call it; several can run side by side.")] = "phone",
    profile: Annotated[str, typer.Option(help=f"{', '.join(virtual.profiles())}, or a TOML file.")] = "pixel-8",
    json: Json = False,
) -> None:
    """Start an emulated phone."""
    _print_phone(virtual.start(name, profile, on_step=console.step), json)


@phone_app.command("stop", epilog="Example: smoothdroid phone stop desk")
def phone_stop(name: Annotated[str, typer.Argument(help="Its name.")] = "phone") -> None:
    """Stop an emulated phone; nothing of it stays behind but its files."""
    running = {phone.name: phone for phone in virtual.running()}
    if name not in running:
        raise BadInput(f"no emulated phone {name} runs; running: {', '.join(running) or 'none'}")
    adb.disconnect(running[name].adb_address)
    virtual.stop(name)
    console.step(f"{name} stopped")


@phone_app.command("list", epilog="Example: smoothdroid phone list --json")
def phone_list(json: Json = False) -> None:
    """List the emulated phones that run."""
    phones = virtual.running()
    if json:
        console.facts([_phone_facts(phone) for phone in phones])
    elif phones:
        rows = [[f"virtual:{p.name}", p.profile, p.adb_address, p.ssh_url] for p in phones]
        console.table("", ["target", "profile", "adb", "ssh"], rows)
    else:
        console.out.print("no emulated phone runs; `smoothdroid phone start` starts one")


def _phone_facts(phone: virtual.VirtualPhone) -> dict[str, Any]:
    return {
        "target": f"virtual:{phone.name}",
        "profile": phone.profile,
        "adb": phone.adb_address,
        "ssh": phone.ssh_url,
        "ssh_key": str(phone.ssh_key),
        "known_hosts": str(phone.known_hosts),
    }


def _print_phone(phone: virtual.VirtualPhone, json: bool) -> None:
    known = _phone_facts(phone)
    if json:
        console.facts(known)
        return
    console.out.print(f"--on virtual:{phone.name}  (adb {phone.adb_address})", soft_wrap=True)
    console.out.print(
        f"--on {phone.ssh_url} --ssh-key {phone.ssh_key} --known-hosts {phone.known_hosts}", soft_wrap=True
    )


@contextmanager
def _reached(on: str | None, ssh: SshOptions) -> Iterator[tuple[Target, Phone]]:
    with closing(open_target(on or the_only_one(), ssh)) as target:
        yield target, describe(target)


def _source(llama_cpp: Path | None) -> source.Source:
    return source.checkout(llama_cpp) if llama_cpp else source.pinned()


def _build_for(target: Target, phone: Phone, isa: str | None, origin: source.Source) -> compiler.Build:
    """The best build that is there and runs on this phone. Raises BadInput, saying what to build."""
    abi = "host" if target.name == "local:" else phone.abi
    levels = variants.usable(abi, phone.features)
    if isa is not None:
        levels = [variants.find(abi, isa)]
        campaign.check_runnable(sorted(levels[0].needs), phone)
    if not levels:
        raise BadInput(f"{phone.model} runs {abi}, for which there is no build; there are {', '.join(variants.ABIS)}")
    static = abi != "host" and not phone.bionic
    built = compiler.find(levels, origin, static=static)
    if built is None:
        wanted = f"--abi {abi} --isa {_buildable(levels)}" + (" --static" if static else "")
        raise BadInput(f"llama.cpp has not been built for {phone.model}: `smoothdroid build {wanted}`")
    return built


def _why(built: compiler.Build, phone: Phone, isa: str | None) -> str:
    """Why this build, for the record."""
    if built.manifest.abi == "host":
        return "built for this machine's own CPU"
    chosen, mine = variants.explain(phone), built.manifest.isa
    best = chosen.level.isa if chosen.level else "none"
    if isa:
        first = f"asked for with --isa {isa}; the best would be {best}"
    elif mine == variants.EVERY_LEVEL:
        first = f"it holds every level, and llama.cpp's loader takes one; among single ones {best} would be the best"
    else:
        first = f"{mine} is the best" if mine == best else f"{best} would be the best, and was not built"
    return f"{first}: {chosen.reason}"


def _buildable(levels: Sequence[variants.Variant]) -> str:
    """The best level that needs no NDK; the best of all where each needs one."""
    return next((level.isa for level in levels if not level.shared), levels[0].isa)


def _tools(built: compiler.Build) -> dict[str, tuple[Path, str]]:
    return {tool: (built.tool(tool), sha256) for tool, sha256 in built.manifest.tools.items()}


def _beside(built: compiler.Build) -> list[tuple[Path, str]]:
    """What must lie in one folder with each tool on a phone: where there are libraries, the whole build."""
    files = built.manifest.tools | built.manifest.libraries if built.manifest.libraries else {}
    return [(built.tool(name), sha256) for name, sha256 in files.items()]


def _need_torch() -> None:
    # Looked for and not imported: models are worked on in other processes, and this one stays light.
    for package in ("torch", "transformers"):
        try:
            found = find_spec(package)
        except ImportError:
            found = None
        if not found:
            raise BadInput(f"preparing a model needs {package}: `pip install 'smoothdroid[model]'`")
