"""llama.cpp -> binaries: cmake and ninja, cached by content."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothdroid.device.common.atomic_file import replacing_folder
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.common.lock import exclusive
from smoothdroid.host.llamacpp import elf
from smoothdroid.host.llamacpp.instructions import ARCHITECTURES
from smoothdroid.host.llamacpp.source import KleidiAI, Source, unpacked
from smoothdroid.host.llamacpp.toolchain import Toolchain, program
from smoothdroid.host.llamacpp.variants import KERNEL_LIBRARIES, KLEIDIAI, Variant, with_kleidiai

OnProgress = Callable[[int, int], None]
"""Called with (compile steps done, compile steps in all), ninja's own count."""

# llama-cli of this llama.cpp is a chat client on top of the server; plain text completion has its own tool.
PHONE_TOOLS = ("llama-bench", "llama-completion", "llama-perplexity")
SHARED_TOOLS = (*PHONE_TOOLS, "llama-cli")
HOST_TOOLS = ("llama-bench", "llama-completion", "llama-quantize", "llama-perplexity")

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_LLAMAFILE=OFF",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_NUMBER=0",
)
# An older checkout takes these without a word, and builds something else.
MUST_BE_KNOWN = ("GGML_CPU_ARM_ARCH", "GGML_BACKEND_DL", "GGML_CPU_ALL_VARIANTS", "GGML_CPU_KLEIDIAI")
CPP_RUNTIME = "libc++_shared.so"
MANIFEST = "build.json"
LINES_SHOWN = 15  # of the log when a build fails: a compiler's message and where it came from


class BuildManifest(BaseModel):
    """build.json, beside the binaries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    id: str
    abi: str
    isa: str
    needs: list[str]
    source: str
    commit: str
    toolchain: str
    tools: dict[str, str]
    """Tool -> sha256 of the binary."""
    libraries: dict[str, str] = Field(default_factory=dict)
    """Library -> sha256: what the tools load, which must lie beside them on the phone."""
    interpreter: str = ""
    """What must be on the phone to load the tools; empty where they are static."""


@dataclass(frozen=True)
class Build:
    """Binaries, and what they are."""

    folder: Path
    manifest: BuildManifest
    hit: bool = True
    """Whether the cache had them."""

    def tool(self, name: str) -> Path:
        """The binary of that name, or the library."""
        return self.folder / "bin" / name


def build_id(variant: Variant, source: Source, toolchain: Toolchain, kleidiai: KleidiAI | None = None) -> str:
    """The identity of what `build` would make: everything that shapes the bytes, and no path."""
    variant = with_kleidiai(variant) if kleidiai else variant
    recipe = [source.id, toolchain.id, variant.abi, variant.isa, *variant.cmake, *OPTIONS, *_tools(variant)]
    recipe += _standard_library(variant, toolchain)
    recipe += [kleidiai.id] if kleidiai else []
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def find(wanted: Iterable[Variant], source: Source, *, static: bool = False) -> Build | None:
    """The first of the `wanted` variants of `source` that was built, with `static` only such that need no loader.

    Needs no compiler installed.
    """
    for variant in wanted:
        builds = [read for path in _builds().glob(f"{variant.name}-*") if (read := _read(path))]
        fitting = [build for build in builds if build.manifest.source == source.id]
        fitting = [build for build in fitting if not (static and build.manifest.interpreter)]
        if fitting:
            return max(fitting, key=lambda build: (build.folder / MANIFEST).stat().st_mtime)
    return None


def _builds() -> Path:
    return cache_root() / "builds"


def _read(folder: Path) -> Build | None:
    """The build in `folder`, if it is there and whole."""
    try:
        manifest = BuildManifest.model_validate_json((folder / MANIFEST).read_bytes())
        files = manifest.tools | manifest.libraries
        whole = all(sha256_of(folder / "bin" / file) == sha256 for file, sha256 in files.items())
    except (OSError, ValidationError):
        return None
    return Build(folder, manifest) if whole else None


def build(
    variant: Variant,
    source: Source,
    toolchain: Toolchain,
    *,
    kleidiai: KleidiAI | None = None,
    jobs: int = 2,
    on_progress: OnProgress | None = None,
) -> Build:
    """Compile llama.cpp for `variant`, unless the cache has it; with `kleidiai`, with those kernels.

    Safe under two callers at once and a kill at any moment: a build becomes visible only whole.
    Raises SmoothdroidError with the log's last lines when a compiler fails, BadInput where variant, toolchain and
    source do not go together and when what came out is not what it should be.
    """
    if variant.shared and toolchain.road != "ndk":
        raise BadInput(
            f"{variant.name} loads libraries at run time, which needs an NDK ({toolchain.why}). Set ANDROID_NDK, or "
            "name one level with --isa"
        )
    identity = build_id(variant, source, toolchain, kleidiai)
    variant = with_kleidiai(variant) if kleidiai else variant
    folder = _builds() / f"{variant.name}-{identity}"
    # One tree for all ISA levels of an ABI: they differ only in ggml's kernels, the rest is compiled once. The
    # source's folder is in its name because cmake refuses a tree of another one.
    shared: tuple[object, ...] = (source.id, str(source.folder), toolchain.id, OPTIONS)
    if variant.shared or kleidiai:
        shared += (variant.cmake, kleidiai)
    common = hashlib.sha256(repr(shared).encode()).hexdigest()[:12]
    tree = cache_root() / "build-trees" / f"{variant.abi}-{common}"
    tree.mkdir(parents=True, exist_ok=True)
    with exclusive(tree.with_suffix(".lock"), wait=True):
        if found := _read(folder):
            return found
        _compile(variant, unpacked(source), toolchain, kleidiai, tree, jobs, on_progress)
        return _publish(variant, source, toolchain, tree, folder, identity)


def _tools(variant: Variant) -> tuple[str, ...]:
    return HOST_TOOLS if variant.abi == "host" else SHARED_TOOLS if variant.shared else PHONE_TOOLS


def _standard_library(variant: Variant, toolchain: Toolchain) -> list[str]:
    """The NDK's name for the C++ library: a program of several libraries wants one for all."""
    return [f"-DANDROID_STL=c++_{'shared' if toolchain.runtime else 'static'}"] if variant.shared else []


def _compile(
    variant: Variant,
    source: Source,
    toolchain: Toolchain,
    kleidiai: KleidiAI | None,
    tree: Path,
    jobs: int,
    on_progress: OnProgress | None,
) -> None:
    _refuse_too_old(source, variant)
    # Assertions carry __FILE__: without the map a binary would depend on where the cache lies.
    # -O3 although Release says it too: cmake asks the compiler who it is without the build type's flags, and zig's
    # answer to a question without -O is to build its C and C++ libraries for debugging, which takes a minute.
    flags = f"-O3 -ffile-prefix-map={source.folder}=llama.cpp -ffile-prefix-map={tree}=build"
    flags += f" -ffile-prefix-map={kleidiai.folder}=kleidiai" if kleidiai and kleidiai.folder else ""
    env = _unshaped(os.environ) | toolchain.env | {"CFLAGS": flags, "CXXFLAGS": flags, "NINJA_STATUS": "[%f/%t] "}
    configure = [program("cmake"), "-S", str(source.folder), "-B", str(tree), "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={program('ninja')}", f"-DLLAMA_BUILD_COMMIT={source.commit}"]
    # -U: the answers to "does the compiler know dotprod", and the options, were given for another ISA level.
    configure += ["-UHAVE_*", "-UGGML_*", *OPTIONS, *toolchain.cmake, *variant.cmake]
    configure += _standard_library(variant, toolchain)
    if toolchain.road == "ndk":
        # The NDK's file sets the flags before cmake looks at the environment. It always compiles with -g, which
        # -s throws away again.
        configure += [f"-DCMAKE_{language}_FLAGS={flags}" for language in ("C", "CXX")]
        configure += [f"-DCMAKE_{kind}_LINKER_FLAGS=-s" for kind in ("EXE", "SHARED", "MODULE")]
    if kleidiai and kleidiai.folder:
        configure += [f"-DFETCHCONTENT_SOURCE_DIR_KLEIDIAI={kleidiai.folder}"]
    log = tree / "build.log"
    with log.open("w", encoding="utf-8") as record:
        try:
            _logged(configure, env, record.write, log, on_progress=None)
        except SmoothdroidError as error:
            if kleidiai and not kleidiai.folder:
                advice = "cmake downloads KleidiAI; where it cannot, unpack it and name it: --kleidiai DIR"
                raise SmoothdroidError(f"{error}\n{advice}") from error
            raise
        compile_ = [program("ninja"), "-C", str(tree), "-j", str(jobs), *_tools(variant)]
        _logged(compile_, env, record.write, log, on_progress)


_SHAPING = frozenset(
    ["LDFLAGS", "CPPFLAGS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "SOURCE_DATE_EPOCH"]
)


def _unshaped(env: Mapping[str, str]) -> dict[str, str]:
    """Without what would reach the compiler past a build's identity; which compiler it is, the toolchain says."""
    return {
        name: value for name, value in env.items() if name not in _SHAPING and not name.startswith(("CMAKE_", "NINJA"))
    }


def _logged(
    command: list[str],
    env: dict[str, str],
    record: Callable[[str], object],
    log: Path,
    on_progress: OnProgress | None,
) -> None:
    last: deque[str] = deque(maxlen=LINES_SHOWN)
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 (asked for above)
            for line in process.stdout:
                record(line)
                last.append(line.rstrip())
                count = re.match(r"\[(\d+)/(\d+)\] ", line)
                if count and on_progress:
                    on_progress(int(count[1]), int(count[2]))
        except BaseException:
            process.terminate()  # Ctrl-C: ninja deletes what it had half written
            raise
    if process.returncode != 0:
        raise SmoothdroidError(
            f"{Path(command[0]).name} failed with status {process.returncode}; the whole log is {log}. It ends:\n  "
            + "\n  ".join(last)
        )


def _refuse_too_old(source: Source, variant: Variant) -> None:
    lists = [
        file for file in (source.folder / "CMakeLists.txt", source.folder / "ggml/CMakeLists.txt") if file.exists()
    ]
    known = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in lists)
    asked = {option.removeprefix("-D").partition("=")[0] for option in variant.cmake}
    if unknown := [name for name in MUST_BE_KNOWN if name in asked and name not in known]:
        raise BadInput(
            f"the llama.cpp in {source.folder} does not know {', '.join(unknown)}, which {variant.name} is built with: "
            "it is too old (or too new). Take another checkout, or the pinned one (leave --llama-cpp out)"
        )


def _libraries(variant: Variant, toolchain: Toolchain, made: Path) -> dict[str, Path]:
    """What the tools load: the libraries that they name, those that these name, and every library of kernels."""
    if not variant.shared:
        return {}
    found = {file.name: file for file in made.glob("libggml-cpu-*.so")}
    if not found:
        raise BadInput(f"llama.cpp made no library of kernels for {variant.name}: is the checkout too old?")
    looked_at: set[Path] = set()
    while todo := ({made / tool for tool in _tools(variant)} | set(found.values())) - looked_at:
        looked_at |= todo
        for name in {name for file in todo for name in elf.read(file).needed}:
            beside = toolchain.runtime if name == CPP_RUNTIME else made / name
            if beside and beside.exists():
                found[name] = beside
    return dict(sorted(found.items()))


def _claims(variant: Variant, toolchain: Toolchain, folder: Path, libraries: Iterable[str]) -> elf.Claims:
    """What each file of a build must be."""
    known = {name for architecture in ARCHITECTURES.values() for name in architecture.extensions}
    chooses = variant.isa.endswith(KLEIDIAI)
    loader = elf.BIONIC_LOADER if toolchain.road == "ndk" else None
    program = elf.Claim() if variant.shared else elf.Claim(variant.needs & known, chooses=chooses)
    claims: dict[Path, tuple[str | None, elf.Claim]] = {folder / tool: (loader, program) for tool in _tools(variant)}
    for name in libraries:
        claim = elf.Claim()
        if name in KERNEL_LIBRARIES:
            needs = KERNEL_LIBRARIES[name]
            # Compiled for SVE, ggml does with SVE what it does with NEON's half precision elsewhere.
            may = frozenset({"asimdhp"}) if "sve" in needs else frozenset()
            claim = elf.Claim(needs - may, may, chooses)
        elif name.startswith("libggml-cpu-") or name == CPP_RUNTIME:
            claim = elf.Claim(chooses=True)  # another llama.cpp's, or the NDK's own
        claims[folder / name] = (None, claim)
    return claims


def _publish(variant: Variant, source: Source, toolchain: Toolchain, tree: Path, folder: Path, identity: str) -> Build:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One that is there is damaged, or it would have been served.
    with replacing_folder(folder) as new:
        (new / "bin").mkdir()
        libraries = _libraries(variant, toolchain, tree / "bin")
        for name, file in ({tool: tree / "bin" / tool for tool in _tools(variant)} | libraries).items():
            shutil.copy2(file, new / "bin" / name)
        if toolchain.road != "host":
            elf.check(_claims(variant, toolchain, new / "bin", libraries), variant.abi, shipped=libraries)
        manifest = BuildManifest(
            id=identity,
            abi=variant.abi,
            isa=variant.isa,
            needs=sorted(variant.needs),
            source=source.id,
            commit=source.commit,
            toolchain=toolchain.id,
            tools={tool: sha256_of(new / "bin" / tool) for tool in _tools(variant)},
            libraries={name: sha256_of(new / "bin" / name) for name in libraries},
            interpreter=elf.BIONIC_LOADER if toolchain.road == "ndk" else "",
        )
        (new / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Build(folder, manifest, hit=False)
