"""The guarded GGUF reader: checks a file's header before gguf-py reads it, and reports damage as BadInput.

gguf-py trusts every count in a header: an array that claims 2^60 entries keeps it busy until the memory is full.
Here the header is walked once, without reading any array, before gguf-py opens the file.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from gguf import GGUFReader, ReaderTensor

from smoothdroid.device.common.errors import BadInput

MAGIC = b"GGUF"
VERSIONS = (2, 3)

# Far above what a model has: vocabularies have up to 262,144 tokens, in three or four arrays.
MOST_ENTRIES = 1 << 22
"""The most entries that all arrays of a file may have together."""
MOST_FIELDS = 1 << 16
MOST_TENSORS = 1 << 17
MOST_DIMENSIONS = 4
MOST_ELEMENTS = 1 << 62
LONGEST_NAME = 1 << 16

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""The size in bytes of each of GGUF's scalar types, by the number of the type."""
STRING, ARRAY = 8, 9

_ARCHITECTURE = re.compile(r"[\w.+-]{1,100}", re.ASCII)


class GgufFile:
    """A GGUF file whose header was checked: its metadata and its tensors.

    Raises BadInput where the file is missing, is no GGUF, or is cut short or damaged. Tensors stay on the disk (mapped)
    until their data is used.
    """

    def __init__(self, path: Path) -> None:
        """Open the file `path` and check its header."""
        if path.is_dir():
            raise BadInput(
                f"{path} is a folder; name the .gguf file in it, or make one with `smoothdroid prepare {path}`"
            )
        self.path = path
        with reading(path):
            _check(path)
            self._reader = GGUFReader(path)
        self.tensors: list[ReaderTensor] = self._reader.tensors
        self._values: dict[str, object] = {}

    @property
    def names(self) -> list[str]:
        """The names of the metadata that are in the file."""
        return list(self._reader.fields)

    def value(self, name: str) -> object:
        """Return the metadata value `name`, None where it is absent. Raises BadInput where it cannot be decoded."""
        if name not in self._values:  # an array is decoded once
            field = self._reader.get_field(name)
            with reading(self.path):
                self._values[name] = field.contents() if field else None
        return self._values[name]

    def text(self, name: str) -> str | None:
        """Return the metadata value `name`, None where it is absent. Raises BadInput where it is no text."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise damaged(self.path, f"{name} is no text")
        return value

    @cached_property
    def architecture(self) -> str:
        """llama.cpp's name of the model's architecture, empty where it is absent."""
        name = self.text("general.architecture") or ""
        if name and not _ARCHITECTURE.fullmatch(name):
            raise damaged(self.path, f"its architecture is no name: {name[:40]!r}")
        return name

    @property
    def n_parameters(self) -> int:
        """The number of elements of all tensors."""
        return sum(int(tensor.n_elements) for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """The mean size of an element, over all tensors. Raises ZeroDivisionError where there are no tensors."""
        return 8 * sum(int(tensor.n_bytes) for tensor in self.tensors) / self.n_parameters


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise BadInput for what gguf-py and numpy raise, within this context, on a missing or damaged file."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {path}") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}.") from error
    except (IndexError, KeyError, ValueError, OverflowError, TypeError, MemoryError, RecursionError) as error:
        raise damaged(path, str(error) or type(error).__name__) from error


def damaged(path: Path, why: str) -> BadInput:
    """Return the error for a file that is cut short or damaged."""
    return BadInput(f"{path} is cut short or damaged ({why}); copy or prepare it again")


def _check(path: Path) -> None:
    """Raise BadInput for a file that is no GGUF, ValueError for a header that gguf-py must not be given."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BadInput(f"{path} is no GGUF file (it does not begin with GGUF)")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check_header(_Header(content))


class _Header:
    """A position in a file's header that moves forward; nothing is read beyond the file's end."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._size, self._at = content, len(content), len(MAGIC)

    def skip(self, count: int) -> None:
        """Move `count` bytes forward. Raises ValueError when the file ends before that."""
        if count > self._size - self._at:
            raise ValueError(f"at byte {self._at}, {count} bytes should follow, and {self._size - self._at} do")
        self._at += count

    def number(self, form: str) -> int:
        """Read a little-endian number in struct's `form`."""
        start = self._at
        self.skip(struct.calcsize(form))
        return int(struct.unpack_from(f"<{form}", self._content, start)[0])

    def count(self, what: str, most: int, form: str = "Q") -> int:
        """Read a number of `what`. Raises ValueError for more than `most`."""
        count = self.number(form)
        if count > most:
            raise ValueError(f"it claims {count} {what}; at most {most} are accepted")
        return count

    def name(self) -> str:
        """Read the name of a field or a tensor."""
        length = self.count("bytes in a name", LONGEST_NAME)
        start = self._at
        self.skip(length)
        return self._content[start : self._at].decode("utf-8")


def _check_header(header: _Header) -> None:
    version = header.number("I")
    if version not in VERSIONS:
        swapped = version & 0xFFFF == 0
        raise ValueError(f"it is {'big-endian' if swapped else f'of version {version}'}, which llama.cpp does not read")
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
    """Move past a field's value; return the number of entries of its array, 0 where it is a scalar or a string."""
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
    header.skip(4 + 8)  # the type and the offset of the data
