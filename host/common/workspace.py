"""Work folders next to the results, so that files with a final name are complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.lock import exclusive


@contextmanager
def workspace(folder: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder `folder/.name.partial`, which is removed when the block ends or raises.

    What a killed run left there is removed first; the lock shows that no run still uses it.
    Raises BadInput where `folder` cannot be written or another run uses it.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(folder))
        except OSError as error:
            raise BadInput(f"{folder}: cannot be used as an output folder: {error.strerror}.") from error
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
            f"{folder}: {needed_bytes / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free: "
            f"{(needed_bytes - free) / 1e9:.2f} GB are missing. Free some space, or choose another output folder."
        )
