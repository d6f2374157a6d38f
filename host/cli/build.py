"""Binaries: `build`, `bundle`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.common.errors import BadInput, NoPhone
from smoothdroid.device.info.phone import Phone
from smoothdroid.host.bench.builds import llama_cpp_source, variants_to_build
from smoothdroid.host.bundle import archive, contents
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import Json, LlamaCpp, OnePhone
from smoothdroid.host.common import console
from smoothdroid.host.farm.selection import all_attached, look_at
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, toolchain, variants
from smoothdroid.host.llamacpp.licences import licences


@app.command(epilog="Example: smoothdroid build --abi arm64-v8a --isa i8mm")
@option_groups(phone=OnePhone)
def build(
    abi: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(variants.ABIS)}. Default: the phones'.", autocompletion=completion.abis),
    ] = None,
    isa: Annotated[
        str | None,
        typer.Option(
            help="ISA level. Default: the best for the phones at hand, or all.", autocompletion=completion.isas
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every ISA level, whatever phones are at hand.")] = False,
    static: Annotated[
        bool, typer.Option("--static", help="With zig, though there is an NDK: for Linux that is not Android.")
    ] = False,
    *,
    phone: OnePhone,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Compilers at once.")] = 2,
    kleidiai: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|download",
            help="With Arm's kernels: from their source tree, or as cmake downloads them. Then --isa LEVEL+kleidiai "
            "runs it.",
        ),
    ] = None,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Build llama.cpp for phones, or for this machine (--abi host).

    It uses an NDK (ANDROID_NDK, or the newest of an Android SDK), else zig. --isa names the ISA level. Without it, an
    NDK builds all levels in one; zig builds the best level for the phone of --on, or for each phone attached, and
    every level with --all or without a phone. A phone without Android's loader, such as the emulated one, gets static
    binaries, which only zig makes.
    """
    if every and (isa or phone.on):
        raise BadInput("--all builds every level, for any phone: leave --isa and --on out")
    phones = []
    if isa is None and not every and abi != "host":
        phones = _phones_at_hand(phone)
    origin = llama_cpp_source(llama_cpp)
    with_kleidiai = source.kleidiai(None if kleidiai == "download" else Path(kleidiai)) if kleidiai else None
    needed, static = variants_to_build(abi, isa, phones, static=static)
    builds = [built_now(variant, origin, jobs, with_kleidiai, static=static) for variant in needed]
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
    abi: Annotated[
        str, typer.Option(help="Of the phones: arm64-v8a or x86_64.", autocompletion=completion.abis)
    ] = "arm64-v8a",
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
    origin = llama_cpp_source(llama_cpp)
    builds = contents.built(abi, origin) if built_only else _every_level(abi, origin, jobs)
    contents.check_tools(builds)
    inspected = [artifact.inspect(model, on_step=console.step) for model in models or []]
    packed = contents.Contents(builds, inspected, licences(source.unpacked(origin), builds))
    entries = contents.entries(packed, output)
    missing = contents.not_built(packed)
    if missing:
        console.warning(f"not built, so not in it: {', '.join(missing)} (without --built-only they will be)")
    with console.bar() as bar:
        archive.write(
            entries, output, on_progress=lambda done, total: bar.update("packing MiB", done >> 20, total >> 20)
        )
    size, unpack = output.stat().st_size, contents.unpack_lines(output)
    if json:
        facts = {"path": str(output), "size_bytes": size, "not_built": missing, "unpack": unpack}
        console.facts({**facts, **contents.facts(packed)})
        return
    console.out.print(f"{output}  {size / 1e6:.0f} MB", soft_wrap=True)
    console.step(f"in Termux: {' && '.join(unpack)}, then README.md in {archive.stem(output)}")


def _every_level(abi: str, origin: source.Source, jobs: int) -> list[compiler.Build]:
    """Return builds that hold every ISA level of an ABI; compile those that are missing."""
    levels = contents.wanted(abi, shared=toolchain.decide(abi).kind == "ndk")
    return [compiler.find([level], origin) or built_now(level, origin, jobs) for level in levels]


def built_now(
    variant: variants.Variant,
    origin: source.Source,
    jobs: int,
    kleidiai: source.KleidiAI | None = None,
    *,
    static: bool = False,
) -> compiler.Build:
    """Compile a variant of llama.cpp, or take it from the cache, and show the progress."""
    tools = toolchain.for_abi(variant.abi, static=static)
    why, added = f" ({tools.why})" if tools.why else "", " and KleidiAI" if kleidiai else ""
    console.step(f"llama.cpp {origin.commit}{added} for {variant.name}, with {tools.id}{why}")
    with console.bar() as bar:
        update = partial(bar.update, "compiling")
        return compiler.build(variant, origin, tools, kleidiai=kleidiai, jobs=jobs, on_progress=update)


def _phones_at_hand(phone: OnePhone) -> list[Phone]:
    """Return the phone of --on; without it the attached phones that answer, which may be none."""
    if phone.on:
        with phone.reached() as (_, described):
            return [described]
    try:
        attached = all_attached(console.warning)
    except NoPhone as error:  # a machine that only builds needs no adb
        console.step(str(error))
        return []
    return list(look_at(attached, phone.ssh, console.warning)[0].values())
