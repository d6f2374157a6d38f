"""Files and folders that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_atomically(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file whole, or leave the one that is there: text as UTF-8; on disk at return if `durable`."""
    with replacing(path, durable=durable) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the path of a temporary file that becomes `path` when the block ends, and is removed if it raises."""
    new = temporary_name(path)
    try:
        yield new
        if durable:
            publish(new, path)
        else:
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` when the block ends, and is removed if it raises."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as work:
        new = Path(work) / folder.name
        new.mkdir()
        yield new
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(new, folder)


def publish(new: Path, path: Path) -> None:
    """Rename a finished file to `path` on the same file system once its content is on disk, and sync the rename."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk where its file system can: some network and FUSE file systems cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """Return where the content of `path` is written before it takes its place."""
    return path.with_name(f".{path.name}.new")
