"""A GGUF opened for reading, its header checked first.

gguf-py believes every count in a header: an array that claims 2^60 entries keeps it busy until the memory is full.
Here the header is walked once, without reading any array, before gguf-py is let at it.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from gguf import GGUFReader

MAGIC = b"GGUF"
VERSIONS = (2, 3)

# Far above what a model has: vocabularies have up to 262,144 tokens, in three or four arrays.
MOST_ENTRIES = 1 << 22
"""Of all arrays of a file together."""
MOST_FIELDS = 1 << 16
MOST_TENSORS = 1 << 17
MOST_DIMENSIONS = 4
MOST_ELEMENTS = 1 << 62
LONGEST_NAME = 1 << 16

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""GGUF's types of a value -> their sizes."""
STRING, ARRAY = 8, 9


def opened(path: Path) -> GGUFReader:
    """The GGUF in `path`. Raises ValueError, which says what is wrong with it, and OSError when it cannot be read."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check(_Header(content))
    try:
        return GGUFReader(path)
    except (IndexError, KeyError, ValueError, OverflowError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"gguf-py cannot read it: {str(error) or type(error).__name__}") from error


class _Header:
    """A place in a file's header that moves on; nothing is read beyond the file's end."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._size, self._at = content, len(content), len(MAGIC)

    def skip(self, count: int) -> None:
        """Raises ValueError when there are not so many bytes."""
        if count > self._size - self._at:
            raise ValueError(f"at byte {self._at}, {count} bytes should follow, and {self._size - self._at} do")
        self._at += count

    def number(self, form: str) -> int:
        """A number in struct's `form`, little-endian."""
        start = self._at
        self.skip(struct.calcsize(form))
        return int(struct.unpack_from(f"<{form}", self._content, start)[0])

    def count(self, what: str, most: int, form: str = "Q") -> int:
        """Raises ValueError for more than `most`."""
        found = self.number(form)
        if found > most:
            raise ValueError(f"it claims {found} {what}; {most} are the most that is read")
        return found

    def name(self) -> str:
        """A field's or a tensor's."""
        length = self.count("bytes in a name", LONGEST_NAME)
        start = self._at
        self.skip(length)
        return self._content[start : self._at].decode("utf-8")


def _check(header: _Header) -> None:
    version = header.number("I")
    if version not in VERSIONS:
        turned = version & 0xFFFF == 0
        raise ValueError(f"it is {'big-endian' if turned else f'of version {version}'}, which llama.cpp does not read")
    tensors = header.count("tensors", MOST_TENSORS)
    entries = 0
    for _ in range(header.count("fields", MOST_FIELDS)):
        name = header.name()
        entries += _skip_value(header, name)
        if entries > MOST_ENTRIES:
            raise ValueError(f"its arrays have more than {MOST_ENTRIES} entries by {name[:100]!r}")
    for _ in range(tensors):
        _skip_tensor(header)


def _skip_value(header: _Header, name: str) -> int:
    """Move over a field's value; returns how many entries its array has, 0 where it is no array."""
    kind = header.number("I")
    if kind != ARRAY:
        _skip_entries(header, kind, 1, name)
        return 0
    kind, length = header.number("I"), header.count(f"entries in {name[:100]!r}", MOST_ENTRIES)
    _skip_entries(header, kind, length, name)
    return length


def _skip_entries(header: _Header, kind: int, count: int, name: str) -> None:
    if kind == STRING:
        for _ in range(count):
            header.skip(header.number("Q"))
    elif kind in SCALAR_BYTES:
        header.skip(count * SCALAR_BYTES[kind])
    else:
        what = "an array of arrays" if kind == ARRAY else f"of an unknown type, {kind}"
        raise ValueError(f"the field {name[:100]!r} is {what}")


def _skip_tensor(header: _Header) -> None:
    name, elements = header.name(), 1
    for _ in range(header.count("dimensions of a tensor", MOST_DIMENSIONS, "I")):
        elements *= header.number("Q")
    if elements > MOST_ELEMENTS:
        raise ValueError(f"the tensor {name[:100]!r} claims {elements} elements")
    header.skip(4 + 8)  # its type and where its data lie
