"""The llama.cpp source: the pinned one, or the user's own checkout."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.atomic_file import replacing_folder
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.common.lock import exclusive
from smoothdroid.host.common.pypi import Pin, fetch

PINNED = Pin(
    package="llama-cpp-python",
    version="0.3.36",
    filename="llama_cpp_python-0.3.36.tar.gz",
    sha256="832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
)
PINNED_COMMIT = "0c1e57098"
INSIDE = "llama_cpp_python-0.3.36/vendor/llama.cpp/"

# The parts that shape a binary or convert a model; tests and documents may change without a rebuild.
COMPILED = ("CMakeLists.txt", "cmake", "common", "ggml", "include", "src", "tools", "vendor")


@dataclass(frozen=True)
class Source:
    """An unpacked llama.cpp."""

    folder: Path
    id: str
    """A hash of the content: equal ids build equal binaries."""
    commit: str
    """The commit that llama-bench reports as `build_commit`."""


def pinned() -> Source:
    """Return the llama.cpp that this release was tested with; `unpacked` downloads it."""
    folder = cache_root() / "sources" / f"llama.cpp-{PINNED.sha256[:12]}"
    return Source(folder, PINNED.sha256[:16], PINNED_COMMIT)


def unpacked(source: Source) -> Source:
    """Return `source` on this machine: the pinned one is downloaded and unpacked when it is missing."""
    if source.folder.exists():
        return source
    source.folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(source.folder.parent / ".lock", wait=True):
        if not source.folder.exists():
            unpack(fetch(PINNED), source.folder)
    return source


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the llama.cpp in the pinned archive to `folder`, which becomes visible only whole."""
    with replacing_folder(folder) as new, tarfile.open(archive) as tar:
        # Plain files below one folder and nothing else: no links, no way out. (`filter="data"` would say
        # it shorter, but Debian 12's Python 3.11.2 does not know it.) The `.git` in there is a submodule's
        # link to nowhere, which makes git fail when cmake asks it for the version.
        wanted = [
            member
            for member in tar.getmembers()
            if member.isfile()
            and member.name.startswith(INSIDE)
            and ".." not in member.name.split("/")
            and member.name != INSIDE + ".git"
        ]
        if not wanted:
            raise SmoothdroidError(f"{archive} contains no llama.cpp: there is no {INSIDE} in it")
        for member in wanted:
            member.name = member.name.removeprefix(INSIDE).lstrip("/")
        tar.extractall(new, members=wanted)  # noqa: S202 (checked above, and pinned by hash)


def checkout(folder: Path) -> Source:
    """Return the user's own llama.cpp in `folder`. Raises BadInput when there is none."""
    for needed in ("CMakeLists.txt", "ggml/CMakeLists.txt", "tools/llama-bench"):
        if not (folder / needed).exists():
            raise BadInput(f"{folder} is no llama.cpp checkout: {needed} is not there")
    digest = _digest(folder, COMPILED)
    return Source(folder.resolve(), digest[:16], f"checkout-{digest[:9]}")


@dataclass(frozen=True)
class KleidiAI:
    """KleidiAI, Arm's kernels that llama.cpp can be built with."""

    folder: Path | None
    """The source tree; None where cmake downloads the release that llama.cpp names, by its hash."""
    id: str


def kleidiai(folder: Path | None) -> KleidiAI:
    """Return KleidiAI in a source tree, or as llama.cpp downloads it. Raises BadInput when it is not in `folder`."""
    if folder is None:
        return KleidiAI(None, "as llama.cpp names it")
    for needed in ("CMakeLists.txt", "kai/kai_common.h"):
        if not (folder / needed).exists():
            raise BadInput(f"{folder} is no source tree of KleidiAI: {needed} is not there")
    return KleidiAI(folder.resolve(), _digest(folder, ("CMakeLists.txt", "cmake", "kai"))[:16])


def _digest(folder: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        top = folder / name
        files = [top] if top.is_file() else sorted(top.rglob("*"))
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(folder)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
