"""Files on the phone, by content: what is there whole is not sent again."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from device.errors import BadInput, CommandFailed
from device.target import Progress, Target, remove

RESERVE_BYTES = 256 << 20  # left free on the phone: Android starts to complain and to kill below about that


def ensure(
    target: Target,
    source: Path,
    sha256: str,
    *,
    executable: bool = False,
    progress: Progress | None = None,
    group: str | None = None,
) -> str:
    """Put `source`, whose hash is `sha256`, on the phone unless it is there; returns its path over there.

    The file keeps its name, in a folder named by its hash, and is seen there only whole and verified. `group`, the
    hash of several files, puts them all into one folder.
    Raises BadInput when the phone has too little space, CommandFailed when what arrived is not what was sent.
    """
    folder = PurePosixPath(target.root) / "store" / (group or sha256)[:16]
    remote = str(folder / source.name)
    if target.run(["test", "-e", remote], check=False).exit_status == 0:
        return remote
    target.run(["mkdir", "-p", str(folder)])
    size = source.stat().st_size
    free = free_bytes(target, str(folder))
    if free < size + RESERVE_BYTES:
        raise BadInput(
            f"{target.name} has {free >> 20} MiB free where {source.name} ({size >> 20} MiB) should go, and "
            f"{RESERVE_BYTES >> 20} MiB should stay free. Remove files on the phone; those of earlier runs lie in "
            f"{target.root}/store"
        )
    arriving = f"{remote}.part"
    target.push(source, arriving, mode=0o755 if executable else 0o644, progress=progress)
    arrived = target.run(["sha256sum", arriving], timeout_s=600).stdout.split()[0]
    if arrived != sha256:
        remove(target, arriving)
        raise CommandFailed(
            target.name, ["push", str(source)], 1, stderr="what arrived is not what was sent; try again"
        )
    target.run(["mv", arriving, remote])
    return remote


def free_bytes(target: Target, folder: str) -> int:
    """Free space of the file system that holds `folder`, in bytes, as `df` tells it."""
    lines = target.run(["df", "-k", folder]).stdout.splitlines()
    # Counted from the end: the device's name may stand on a line of its own, and a mount point has no space.
    words = lines[-1].split() if lines else []
    if len(words) < 4 or not words[-3].isdigit():
        raise CommandFailed(target.name, ["df", "-k", folder], 0, stderr=f"no free space in: {lines}")
    return int(words[-3]) * 1024
