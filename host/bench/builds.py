"""The build of llama.cpp that a phone gets, and its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.store.program import File
from smoothdroid.device.transport.target import Target
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, toolchain, variants
from smoothdroid.host.results.record import Requested


@dataclass(frozen=True)
class Binaries:
    """The programs of a build that a campaign runs, and what its record says about the build."""

    id: str
    isa: str
    commit: str
    tools: dict[str, File]
    extra_files: Sequence[File] = ()
    """Files that must lie beside each tool on the phone."""
    reason: str = ""
    """The sentence that says why the phone got this build."""
    requested: Requested = field(default_factory=Requested)
    """The options that the user gave for the build."""


def llama_cpp_source(llama_cpp: Path | None) -> source.Source:
    """Return the user's llama.cpp checkout, or the pinned source without one."""
    return source.checkout(llama_cpp) if llama_cpp else source.pinned()


def variants_to_build(
    abi: str | None, isa: str | None, phones: Sequence[Phone], *, static: bool = False
) -> tuple[list[variants.Variant], bool]:
    """Return the variants to compile for an ABI or for phones, and whether their programs must be static.

    Static programs are needed where `static` says so and for a phone without bionic. Without `isa`, an NDK compiles
    all levels into one build. Raises BadInput as `variants.choose` and `toolchain.decide`.
    """
    static = static or not all(phone.bionic for phone in phones)
    shared = isa is None and abi != "host" and toolchain.decide(abi or "arm64-v8a", static=static).kind == "ndk"
    return variants.choose(abi, isa, [(phone.abi, phone.features) for phone in phones], shared=shared), static


def build_for(target: Target, phone: Phone, isa: str | None, origin: source.Source) -> compiler.Build:
    """Return the best build that exists and runs on a phone, or the one of ISA level `isa`.

    Raises BadInput, with the command that builds it, where there is none, or where the phone cannot run that level.
    """
    abi = "host" if target.kind == "local" else phone.abi
    levels = variants.usable(abi, phone.features)
    if isa is not None:
        levels = [variants.find(abi, isa)]
        check_runnable(sorted(levels[0].needs), phone)
    if not levels:
        raise BadInput(
            f"{phone.model} runs {abi}, for which smoothdroid has no build; it builds for {', '.join(variants.ABIS)}"
        )
    static = abi != "host" and not phone.bionic
    built = compiler.find(levels, origin, static=static)
    if built is None:
        wanted = f"--abi {abi} --isa {_buildable(levels)}" + (" --static" if static else "")
        raise BadInput(f"llama.cpp has not been built for {phone.model}: run `smoothdroid build {wanted}`")
    return built


def build_for_this_machine(origin: source.Source) -> compiler.Build | None:
    """Return the build for this machine's own CPU, or None where there is none."""
    return compiler.find([variants.find("host", "native")], origin)


def check_runnable(needs: list[str], phone: Phone) -> None:
    """Raise BadInput when the phone's CPUs lack a feature that a build needs."""
    if lacking := sorted(set(needs) - set(phone.features)):
        raise BadInput(
            f"{phone.model} lacks {', '.join(lacking)}, which this build needs: it would end with an illegal "
            "instruction. Leave --isa out to get the best level that runs there"
        )


def why_this_build(built: compiler.Build, phone: Phone, isa: str | None) -> str:
    """Return a sentence for the record that says why a phone got this build."""
    if built.manifest.abi == "host":
        return "built for this machine's own CPU"
    choice, level = variants.explain(phone), built.manifest.isa
    best = choice.level.isa if choice.level else "none"
    if isa:
        first = f"requested with --isa {isa}; the best would be {best}"
    elif level == variants.EVERY_LEVEL:
        first = f"it holds every level, and llama.cpp's loader picks one; the best single level would be {best}"
    else:
        first = f"{level} is the best" if level == best else f"{best} would be the best, but is not built"
    return f"{first}: {choice.reason}"


def tools_of(built: compiler.Build) -> dict[str, File]:
    """Return each program of a build with its file and its sha256."""
    return {tool: (built.tool(tool), sha256) for tool, sha256 in built.manifest.tools.items()}


def extra_files(built: compiler.Build) -> list[File]:
    """Return the files that must lie beside each tool: the whole build where it has libraries, else none."""
    files = built.manifest.tools | built.manifest.libraries if built.manifest.libraries else {}
    return [(built.tool(name), sha256) for name, sha256 in files.items()]


def _buildable(levels: Sequence[variants.Variant]) -> str:
    """Return the best level that needs no NDK, or the best of all where each needs one."""
    return next((level.isa for level in levels if not level.shared), levels[0].isa)


def binaries_for(isa: str | None, origin: source.Source, force: bool = False) -> Callable[[Target, Phone], Binaries]:
    """Return a function that returns the binaries for a phone, from the build that `build_for` chooses."""
    checkout = "" if origin == source.pinned() else str(origin.folder)
    requested = Requested(isa=isa or "", llama_cpp=checkout, force=force)

    def binaries(target: Target, phone: Phone) -> Binaries:
        built = build_for(target, phone, isa, origin)
        made = built.manifest
        reason = why_this_build(built, phone, isa)
        return Binaries(made.id, made.isa, made.commit, tools_of(built), extra_files(built), reason, requested)

    return binaries
