"""A place to work in beside the results, so that what stands where a finished file would be is finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.lock import exclusive


@contextmanager
def workspace(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder `folder/.name.partial`, removed at the end, however it ends.

    What an earlier run left there (it was killed) is removed first: the lock says that no run still uses it.
    Raises BadInput where `folder` cannot be written, or where another run is at work in it.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(folder))
        except OSError as error:
            raise BadInput(f"{folder}: not a folder that can be written: {error.strerror}.") from error
        partial = folder / f".{name}.partial"
        if partial.exists():
            shutil.rmtree(partial)
        try:
            partial.mkdir()
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written: {error.strerror}.") from error
        try:
            yield partial
        finally:
            shutil.rmtree(partial)


def require_space(folder: Path, needed_bytes: int, free_bytes: int | None = None) -> None:
    """Raise BadInput where less than `needed_bytes` is free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    if free < needed_bytes:
        raise BadInput(
            f"{folder}: {needed_bytes / 1e9:.2f} GB are needed there and {free / 1e9:.2f} GB are free: "
            f"{(needed_bytes - free) / 1e9:.2f} GB are missing. Free some, or choose another output folder."
        )
