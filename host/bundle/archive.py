"""Reproducible tar archives: sorted entries, no dates or owners, written atomically."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO

import zstandard

from smoothdroid.device.common.atomic_file import replacing
from smoothdroid.device.common.errors import BadInput, SmoothdroidError

OnProgress = Callable[[int, int], None]
"""Receives the number of bytes packed and the total."""

SUFFIXES = (".tar.zst", ".tar.gz", ".tar")
# 1980-01-01, where zip's calendar begins: some tars warn of files from 1970.
DATE = 315532800
ZSTD_LEVEL = 6  # binaries shrink to a third; a quantized model hardly shrinks at any level
CHUNK = 1 << 20
SPARE_BYTES = 16 << 20  # for headers, and for data that grows when it is compressed


@dataclass(frozen=True)
class Entry:
    """A file of an archive."""

    name: str
    source: Path | bytes
    executable: bool = False
    sha256: str | None = None
    """The hash that the file must have; None for a file that is not checked."""

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


def stem(output: Path) -> str:
    """Return the archive's name without its suffix: llama2-7b-termux. Raises BadInput for an unknown suffix."""
    for suffix in SUFFIXES:
        name = output.name.removesuffix(suffix)
        if name not in ("", output.name):
            return name
    raise BadInput(f"{output}: the suffix selects the format and must be {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def check_output(output: Path, *, replace: bool) -> None:
    """Raise BadInput when `output` has an unknown suffix, is in no folder, or exists and is not to be replaced."""
    stem(output)
    if not output.parent.is_dir():
        raise BadInput(f"the folder {output.parent} of {output.name} does not exist: create it first")
    if output.is_dir():
        raise BadInput(f"{output} is a folder")
    if output.exists() and not replace:
        raise BadInput(f"{output} exists already: replace it with --force, or choose another name with -o")


def write(entries: Sequence[Entry], output: Path, *, on_progress: OnProgress | None = None) -> None:
    """Pack `entries` into `output`, in a folder with the archive's name.

    Raises BadInput when the disk is too full, SmoothdroidError when a file changes meanwhile.
    """
    folder = stem(output)
    total = sum(entry.size for entry in entries)
    free = shutil.disk_usage(output.parent).free
    if free < total + SPARE_BYTES:
        raise BadInput(
            f"{output.parent} has {free >> 20} MiB free, and the bundle may take {(total + SPARE_BYTES) >> 20} MiB: "
            "free some space, or choose another disk with -o"
        )
    packed = 0
    with (
        replacing(output) as part,
        part.open("wb") as raw,
        _compressed(raw, output.name) as stream,
        # GNU's format supports files beyond 8 GiB and names in UTF-8, and toybox reads it.
        tarfile.TarFile(
            None, "w", fileobj=stream, format=tarfile.GNU_FORMAT, encoding="utf-8", copybufsize=CHUNK
        ) as tar,
    ):
        for entry in sorted(entries, key=lambda entry: entry.name):
            member = tarfile.TarInfo(f"{folder}/{entry.name}")
            member.size, member.mtime, member.mode = entry.size, DATE, 0o755 if entry.executable else 0o644
            with _opened(entry) as file:
                reader = _Reader(file, entry, partial(_tell, on_progress, packed, total))
                tar.addfile(member, reader)
                reader.check()
            packed += member.size


def _tell(on_progress: OnProgress | None, before: int, total: int, read: int) -> None:
    if on_progress:
        on_progress(before + read, total)


class _Reader:
    """A file that tarfile reads, hashed on the way, so that a change is detected."""

    def __init__(self, file: IO[bytes], entry: Entry, on_read: Callable[[int], None]) -> None:
        """`on_read` receives the number of bytes read so far."""
        self._file, self._entry, self._on_read = file, entry, on_read
        self._left, self._read = entry.size, 0
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Raises SmoothdroidError when the file has become shorter."""
        data = self._file.read(size)
        if len(data) < min(size, self._left):
            raise self._changed()
        self._hash.update(data)
        self._left -= len(data)
        self._read += len(data)
        self._on_read(self._read)
        return data

    def check(self) -> None:
        """Raise SmoothdroidError when the bytes read have another hash than expected."""
        if self._entry.sha256 not in (None, self._hash.hexdigest()):
            raise self._changed()

    def _changed(self) -> SmoothdroidError:
        return SmoothdroidError(f"{self._entry.source!s} changed while it was packed: retry when nothing writes to it")


def _opened(entry: Entry) -> IO[bytes]:
    return BytesIO(entry.source) if isinstance(entry.source, bytes) else entry.source.open("rb")


@contextmanager
def _compressed(raw: IO[bytes], name: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    if name.endswith(".tar.zst"):
        # The checksum lets zstd itself detect a damaged copy.
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        with compressor.stream_writer(raw, closefd=False) as stream:
            yield stream
    elif name.endswith(".tar.gz"):
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            yield packed
    else:
        yield raw
