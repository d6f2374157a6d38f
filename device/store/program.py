"""The installation of a program on a phone: a single file, or one with the libraries that it loads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smoothdroid.device.store import upload
from smoothdroid.device.transport.target import Progress, Target

File = tuple[Path, str]
"""A file on the workstation, and its sha256."""


@dataclass(frozen=True)
class Installed:
    """A program on the phone."""

    path: str
    env: Mapping[str, str] = field(default_factory=dict)
    """The environment that it must run with."""


def install(
    target: Target, program: File, libraries: Sequence[File] = (), *, progress: Progress | None = None
) -> Installed:
    """Install `program` on the phone unless it is there, in one folder with `libraries`.

    llama.cpp looks for its kernels in the program's folder, and reports nothing when none is there. Android's loader
    finds libraries through LD_LIBRARY_PATH. Raises the errors of `upload.ensure`.
    """
    if not libraries:
        return Installed(upload.ensure(target, *program, executable=True, progress=progress))
    files = sorted({program, *libraries}, key=lambda file: file[0].name)
    group = hashlib.sha256(" ".join(f"{file.name}:{sha256}" for file, sha256 in files).encode()).hexdigest()
    remote = {
        file.name: upload.ensure(target, file, sha256, executable=True, progress=progress, group=group)
        for file, sha256 in files
    }
    path = remote[program[0].name]
    return Installed(path, {"LD_LIBRARY_PATH": path.rpartition("/")[0]})
