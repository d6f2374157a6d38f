"""The files of a build: the libraries that its tools load, and the properties that each file must have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.llamacpp import elf
from smoothdroid.host.llamacpp.instructions import ARCHITECTURES
from smoothdroid.host.llamacpp.toolchain import Toolchain
from smoothdroid.host.llamacpp.variants import KERNEL_LIBRARIES, KLEIDIAI, Variant

CPP_RUNTIME = "libc++_shared.so"


def libraries_of(variant: Variant, toolchain: Toolchain, made: Path) -> dict[str, Path]:
    """Return the libraries that a build's tools load, by name, sorted.

    They are the libraries that the tools need, those that these need, and every library of kernels, which no file
    names. Raises BadInput when llama.cpp built no library of kernels.
    """
    if not variant.shared:
        return {}
    libraries = {file.name: file for file in made.glob("libggml-cpu-*.so")}
    if not libraries:
        raise BadInput(f"llama.cpp built no library of kernels for {variant.name}: is the checkout too old?")
    read: set[Path] = set()
    while unread := ({made / tool for tool in variant.tools} | set(libraries.values())) - read:
        read |= unread
        for name in {name for file in unread for name in elf.read(file).needed}:
            library = toolchain.runtime if name == CPP_RUNTIME else made / name
            if library and library.exists():
                libraries[name] = library
    return dict(sorted(libraries.items()))


def claims(variant: Variant, toolchain: Toolchain, folder: Path, libraries: Iterable[str]) -> elf.Claims:
    """Return the loader and the instructions that each file of a build in `folder` may and must have."""
    known = {name for architecture in ARCHITECTURES.values() for name in architecture.extensions}
    chooses = variant.isa.endswith(KLEIDIAI)
    loader = elf.BIONIC_LOADER if toolchain.kind == "ndk" else None
    program = elf.Claim() if variant.shared else elf.Claim(variant.needs & known, chooses=chooses)
    files: dict[Path, tuple[str | None, elf.Claim]] = {folder / tool: (loader, program) for tool in variant.tools}
    for name in libraries:
        claim = elf.Claim()
        if name in KERNEL_LIBRARIES:
            needs = KERNEL_LIBRARIES[name]
            # Compiled for SVE, ggml does with SVE what it does with NEON's half precision elsewhere.
            may = frozenset({"asimdhp"}) if "sve" in needs else frozenset()
            claim = elf.Claim(needs - may, may, chooses)
        elif name.startswith("libggml-cpu-") or name == CPP_RUNTIME:
            claim = elf.Claim(chooses=True)  # a library of another llama.cpp, or the NDK's own
        files[folder / name] = (None, claim)
    return files
