"""llama.cpp -> binaries: cmake and ninja, cached by content."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from device.cache import cache_root
from device.errors import SmoothdroidError
from host.build.source import Source, unpacked
from host.build.toolchain import Toolchain, program
from host.build.variants import Variant
from host.pypi import sha256_of

OnProgress = Callable[[int, int], None]
"""Called with (compile steps done, compile steps in all), ninja's own count."""

# llama-cli of this llama.cpp is a chat client on top of the server; plain text completion has its own tool.
PHONE_TOOLS = ("llama-bench", "llama-completion", "llama-perplexity")
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


@dataclass(frozen=True)
class Build:
    """Binaries, and what they are."""

    folder: Path
    manifest: BuildManifest
    hit: bool = True
    """Whether the cache had them."""

    def tool(self, name: str) -> Path:
        """The binary of that name."""
        return self.folder / "bin" / name


def build_id(variant: Variant, source: Source, toolchain: Toolchain) -> str:
    """The identity of what `build` would make: everything that shapes the bytes, and no path."""
    recipe = [source.id, toolchain.id, variant.abi, variant.isa, *variant.cmake, *OPTIONS, *_tools(variant)]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def find(wanted: Iterable[Variant], source: Source) -> Build | None:
    """The first of the `wanted` variants of `source` that was built; needs no compiler installed."""
    for variant in wanted:
        builds = [read for path in _builds().glob(f"{variant.name}-*") if (read := _read(path))]
        fitting = [build for build in builds if build.manifest.source == source.id]
        if fitting:
            return max(fitting, key=lambda build: (build.folder / MANIFEST).stat().st_mtime)
    return None


def _builds() -> Path:
    return cache_root() / "builds"


def _read(folder: Path) -> Build | None:
    """The build in `folder`, if it is there and whole."""
    try:
        manifest = BuildManifest.model_validate_json((folder / MANIFEST).read_bytes())
        whole = all(sha256_of(folder / "bin" / tool) == sha256 for tool, sha256 in manifest.tools.items())
    except (OSError, ValidationError):
        return None
    return Build(folder, manifest) if whole else None


def build(
    variant: Variant,
    source: Source,
    toolchain: Toolchain,
    *,
    jobs: int = 2,
    on_progress: OnProgress | None = None,
) -> Build:
    """Compile llama.cpp for `variant`, unless the cache has it.

    Safe under two callers at once and a kill at any moment: a build becomes visible only whole.
    Raises SmoothdroidError with the log's last lines when a compiler fails.
    """
    identity = build_id(variant, source, toolchain)
    folder = _builds() / f"{variant.name}-{identity}"
    # One tree for all ISA levels of an ABI: they differ only in ggml's kernels, the rest is compiled once. The
    # source's folder is in its name because cmake refuses a tree of another one.
    shared = (source.id, str(source.folder), toolchain.id, OPTIONS)
    common = hashlib.sha256(repr(shared).encode()).hexdigest()[:12]
    tree = cache_root() / "build-trees" / f"{variant.abi}-{common}"
    tree.mkdir(parents=True, exist_ok=True)
    with _locked(tree.with_suffix(".lock")):
        if found := _read(folder):
            return found
        _compile(variant, unpacked(source), toolchain, tree, jobs, on_progress)
        return _publish(variant, source, toolchain, tree, folder, identity)


def _tools(variant: Variant) -> tuple[str, ...]:
    return HOST_TOOLS if variant.abi == "host" else PHONE_TOOLS


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(
    variant: Variant,
    source: Source,
    toolchain: Toolchain,
    tree: Path,
    jobs: int,
    on_progress: OnProgress | None,
) -> None:
    # Assertions carry __FILE__: without the map a binary would depend on where the cache lies.
    # -O3 although Release says it too: cmake asks the compiler who it is without the build type's flags, and zig's
    # answer to a question without -O is to build its C and C++ libraries for debugging, which takes a minute.
    flags = f"-O3 -ffile-prefix-map={source.folder}=llama.cpp -ffile-prefix-map={tree}=build"
    env = os.environ | toolchain.env | {"CFLAGS": flags, "CXXFLAGS": flags, "NINJA_STATUS": "[%f/%t] "}
    configure = [program("cmake"), "-S", str(source.folder), "-B", str(tree), "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={program('ninja')}", f"-DLLAMA_BUILD_COMMIT={source.commit}"]
    # -U: the answers to "does the compiler know dotprod" were given for another ISA level.
    configure += ["-UHAVE_*", "-UGGML_CPU_ARM_ARCH", *OPTIONS, *toolchain.cmake, *variant.cmake]
    log = tree / "build.log"
    with log.open("w") as record:
        _logged(configure, env, record.write, log, on_progress=None)
        compile_ = [program("ninja"), "-C", str(tree), "-j", str(jobs), *_tools(variant)]
        _logged(compile_, env, record.write, log, on_progress)


def _logged(
    command: list[str],
    env: dict[str, str],
    record: Callable[[str], object],
    log: Path,
    on_progress: OnProgress | None,
) -> None:
    last: deque[str] = deque(maxlen=LINES_SHOWN)
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
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


def _publish(variant: Variant, source: Source, toolchain: Toolchain, tree: Path, folder: Path, identity: str) -> Build:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as work:
        new = Path(work) / "build"
        (new / "bin").mkdir(parents=True)
        for tool in _tools(variant):
            shutil.copy2(tree / "bin" / tool, new / "bin" / tool)
        manifest = BuildManifest(
            id=identity,
            abi=variant.abi,
            isa=variant.isa,
            needs=sorted(variant.needs),
            source=source.id,
            commit=source.commit,
            toolchain=toolchain.id,
            tools={tool: sha256_of(new / "bin" / tool) for tool in _tools(variant)},
        )
        (new / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        if folder.exists():  # damaged, or it would have been served
            shutil.rmtree(folder)
        os.replace(new, folder)
    return Build(folder, manifest, hit=False)
