"""Which build of llama.cpp a phone gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench import campaign
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants


def llama_cpp_source(llama_cpp: Path | None) -> source.Source:
    """A checkout of the user's, or the pinned one."""
    return source.checkout(llama_cpp) if llama_cpp else source.pinned()


def build_for(target: Target, phone: Phone, isa: str | None, origin: source.Source) -> compiler.Build:
    """The best build that is there and runs on this phone. Raises BadInput, saying what to build."""
    abi = "host" if target.kind == "local" else phone.abi
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


def why_this_build(built: compiler.Build, phone: Phone, isa: str | None) -> str:
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


def tools_of(built: compiler.Build) -> dict[str, tuple[Path, str]]:
    """Each program with its file and its sha256."""
    return {tool: (built.tool(tool), sha256) for tool, sha256 in built.manifest.tools.items()}


def beside(built: compiler.Build) -> list[tuple[Path, str]]:
    """What must lie in one folder with each tool on a phone: where there are libraries, the whole build."""
    files = built.manifest.tools | built.manifest.libraries if built.manifest.libraries else {}
    return [(built.tool(name), sha256) for name, sha256 in files.items()]
