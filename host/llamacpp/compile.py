"""Builds of llama.cpp: compiled once, cached by the content of everything that shapes them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothdroid.device.common.atomic_file import replacing_folder
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.common.lock import exclusive
from smoothdroid.host.llamacpp import elf
from smoothdroid.host.llamacpp.build_files import claims, libraries_of
from smoothdroid.host.llamacpp.cmake import OPTIONS, OnProgress, compile_in, standard_library
from smoothdroid.host.llamacpp.source import KleidiAI, Source, unpacked
from smoothdroid.host.llamacpp.toolchain import Toolchain
from smoothdroid.host.llamacpp.variants import Variant, with_kleidiai

MANIFEST = "build.json"


class BuildManifest(BaseModel):
    """The manifest of a build, build.json beside its binaries."""

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
    """The sha256 of each tool."""
    libraries: dict[str, str] = Field(default_factory=dict)
    """The sha256 of each library that the tools load. They must lie beside the tools on the phone."""
    interpreter: str = ""
    """The loader that the phone must have; empty for static tools."""


@dataclass(frozen=True)
class Build:
    """The binaries of a build, and their manifest."""

    folder: Path
    manifest: BuildManifest
    hit: bool = True
    """The cache had it."""

    def tool(self, name: str) -> Path:
        """Return the path of a tool or of a library."""
        return self.folder / "bin" / name


def build_id(variant: Variant, source: Source, toolchain: Toolchain, kleidiai: KleidiAI | None = None) -> str:
    """Return the identity of a build: a hash of everything that shapes its bytes, and of no path."""
    variant = with_kleidiai(variant) if kleidiai else variant
    recipe = [source.id, toolchain.id, variant.abi, variant.isa, *variant.cmake, *OPTIONS, *variant.tools]
    recipe += standard_library(variant, toolchain)
    recipe += [kleidiai.id] if kleidiai else []
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def find(wanted: Iterable[Variant], source: Source, *, static: bool = False) -> Build | None:
    """Return the newest cached build of the first of the `wanted` variants that has one; None without any.

    With `static` only builds that need no loader count. No compiler is needed.
    """
    for variant in wanted:
        builds = [build for path in _builds().glob(f"{variant.name}-*") if (build := _read(path))]
        matches = [build for build in builds if build.manifest.source == source.id]
        matches = [build for build in matches if not (static and build.manifest.interpreter)]
        if matches:
            return max(matches, key=lambda build: (build.folder / MANIFEST).stat().st_mtime)
    return None


def _builds() -> Path:
    return cache_root() / "builds"


def _read(folder: Path) -> Build | None:
    """Return the build in `folder`; None where it is missing or damaged."""
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
    """Compile llama.cpp for `variant`, with KleidiAI's kernels where it is given; a cached build is returned as it is.

    Two callers at once and a kill at any moment are safe: a build becomes visible only whole.
    Raises SmoothdroidError with the last lines of the log when a compiler fails, and BadInput when variant, toolchain
    and source do not go together, or the files that were built are not what the variant promises.
    """
    if variant.shared and toolchain.kind != "ndk":
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
        if cached := _read(folder):
            return cached
        compile_in(variant, unpacked(source), toolchain, kleidiai, tree, jobs, on_progress)
        return _publish(variant, source, toolchain, tree, folder, identity)


def _publish(variant: Variant, source: Source, toolchain: Toolchain, tree: Path, folder: Path, identity: str) -> Build:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A build that is there already is damaged: a whole one would have been returned.
    with replacing_folder(folder) as new:
        (new / "bin").mkdir()
        libraries = libraries_of(variant, toolchain, tree / "bin")
        for name, file in ({tool: tree / "bin" / tool for tool in variant.tools} | libraries).items():
            shutil.copy2(file, new / "bin" / name)
        if toolchain.kind != "host":
            elf.check(claims(variant, toolchain, new / "bin", libraries), variant.abi, shipped=libraries)
        manifest = BuildManifest(
            id=identity,
            abi=variant.abi,
            isa=variant.isa,
            needs=sorted(variant.needs),
            source=source.id,
            commit=source.commit,
            toolchain=toolchain.id,
            tools={tool: sha256_of(new / "bin" / tool) for tool in variant.tools},
            libraries={name: sha256_of(new / "bin" / name) for name in libraries},
            interpreter=elf.BIONIC_LOADER if toolchain.kind == "ndk" else "",
        )
        (new / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Build(folder, manifest, hit=False)
