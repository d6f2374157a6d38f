"""Builds and bundles whose tools are played by scripts."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.bundle import archive, contents
from smoothdroid.host.bundle.contents import TOOLS, Contents
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp import source
from smoothdroid.host.llamacpp.compile import Build, BuildManifest
from smoothdroid.host.llamacpp.variants import Variant
from tests.host.fakes import write_gguf

BUILD_ID = "0123456789abcdef"


def build_of(
    variant: Variant,
    cache: Path,
    text: str = "#!/bin/sh\n",
    toolchain: str = "fake",
    tools: Sequence[str] = TOOLS,
    libraries: Sequence[str] = (),
) -> Build:
    """A finished build in a cache, every tool, and every library, the script `text`."""
    folder = cache / "builds" / f"{variant.name}-{BUILD_ID}"
    (folder / "bin").mkdir(parents=True)
    for name in (*tools, *libraries):
        (folder / "bin" / name).write_text(text)
    manifest = BuildManifest(
        id=BUILD_ID,
        abi=variant.abi,
        isa=variant.isa,
        needs=sorted(variant.needs),
        source=source.pinned().id,
        commit=source.PINNED_COMMIT,
        toolchain=toolchain,
        tools={name: sha256_of(folder / "bin" / name) for name in tools},
        libraries={name: sha256_of(folder / "bin" / name) for name in libraries},
    )
    (folder / "build.json").write_text(manifest.model_dump_json())
    return Build(folder, manifest)


def packed(folder: Path, builds: Sequence[Build], models: Sequence[Path]) -> Path:
    """A bundle, packed and unpacked: as `folder`."""
    output = folder.with_name(f"{folder.name}.tar")
    found = [artifact.inspect(model if model.exists() else write_gguf(model)) for model in models]
    archive.write(contents.entries(Contents(builds, found, {}), output), output)
    with tarfile.open(output) as tar:
        tar.extractall(folder.parent)  # noqa: S202 (made above)
    output.unlink()
    return folder
