from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf import artifact, reader
from smoothdroid.host.gguf.reader import ARRAY, STRING, GgufFile
from smoothdroid.host.model.evaluate.compatibility import vocabulary_of
from smoothdroid.host.model.provenance import inspect
from tests.host.fakes import write_gguf
from tests.host.limits import limited

U8, U32, BOOL = 0, 4, 7
HUGE = 1 << 60


def name(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def header(fields: bytes = b"", tensors: bytes = b"", *, n_fields: int = 1, n_tensors: int = 0) -> bytes:
    """A GGUF of version 3 that claims so many fields and tensors, and then some bytes that no file lacks."""
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_fields) + fields + tensors + bytes(4096)


def array(kind: int, length: int, key: str = "a") -> bytes:
    return name(key) + struct.pack("<IIQ", ARRAY, kind, length)


def tensor(*dimensions: int, key: str = "t", kind: int = 0) -> bytes:
    return name(key) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, 0)


HOSTILE = {
    "an array of 2^60 numbers": (header(array(U32, HUGE)), "entries"),
    "an array of 2^60 bytes": (header(array(U8, HUGE)), "entries"),
    "an array of 2^60 texts": (header(array(STRING, HUGE)), "entries"),
    "an array just too long": (header(array(BOOL, reader.MOST_ENTRIES + 1)), "entries"),
    "an array longer than the file": (header(array(U32, 1 << 20)), "should follow"),
    "nested arrays": (header(array(ARRAY, 1) + struct.pack("<IQ", ARRAY, 1) * 2000), "array of arrays"),
    "an array of an unknown type": (header(array(99, 1)), "unknown type"),
    "a field of an unknown type": (header(name("a") + struct.pack("<I", 13)), "unknown type"),
    "a text of 2^60 bytes": (header(name("a") + struct.pack("<IQ", STRING, HUGE)), "should follow"),
    "a text of 2^64 - 1 bytes": (header(name("a") + struct.pack("<IQ", STRING, 2**64 - 1)), "should follow"),
    "a name of 2^60 bytes": (header(struct.pack("<Q", HUGE)), "bytes in a name"),
    "a name that is no text": (header(struct.pack("<Q", 2) + b"\xff\xfe"), "utf-8"),
    "2^60 fields": (header(n_fields=HUGE), "fields"),
    "2^60 tensors": (header(n_fields=0, n_tensors=HUGE), "tensors"),
    "a tensor of 2^30 dimensions": (
        header(tensors=name("t") + struct.pack("<I", 1 << 30), n_fields=0, n_tensors=1),
        "dimensions",
    ),
    "a tensor of 2^80 elements": (header(tensors=tensor(1 << 40, 1 << 40), n_fields=0, n_tensors=1), "elements"),
    "a tensor larger than the file": (
        header(tensors=tensor(1 << 40), n_fields=0, n_tensors=1),
        "cut short or damaged",
    ),
    "a tensor of an unknown type": (header(tensors=tensor(1, kind=250), n_fields=0, n_tensors=1), "250"),
    "another byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "version 1": (b"GGUF" + struct.pack("<III", 1, 0, 0), "version 1"),
    "nothing after its first letters": (b"GGUF", "should follow"),
    "two fields of one name": (header((name("a") + struct.pack("<II", U32, 1)) * 2, n_fields=2), "Duplicate"),
    "an alignment of 0": (header(name("general.alignment") + struct.pack("<II", U32, 0)), "alignment"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "bench": artifact.inspect,
    "inspect": inspect.inspect,
    "evaluate": vocabulary_of,
}


@pytest.mark.fault(
    "a GGUF whose header claims 2^60 entries, nested arrays or absurd lengths",
    transport="workstation",
    outcome="refused in one line, before any memory is taken for it",
)
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_header_is_refused_in_little_memory(tmp_path: Path, what: str) -> None:
    path = tmp_path / "hostile.gguf"
    content, message = HOSTILE[what]
    path.write_bytes(content)
    with limited(), pytest.raises(BadInput, match=message):
        GgufFile(path)
    for read in READERS.values():
        with limited(), pytest.raises(BadInput, match=r"hostile\.gguf"):
            read(path)


@pytest.mark.parametrize("reader", READERS)
def test_an_architecture_that_is_no_name_is_refused(tmp_path: Path, reader: str) -> None:
    path = write_gguf(tmp_path / "model.gguf")
    field = name("general.architecture") + struct.pack("<I", STRING) + name("llama")
    number = name("general.architecture") + struct.pack("<II", U32, 7) + name("b")[8:] * 0
    content = path.read_bytes()
    assert field in content
    path.write_bytes(content.replace(field, number))
    with pytest.raises(BadInput):
        READERS[reader](path)


def test_a_sound_file_is_opened(tmp_path: Path) -> None:
    assert [tensor.name for tensor in GgufFile(write_gguf(tmp_path / "model.gguf")).tensors] == ["embedding", "norm"]


def test_a_file_cut_anywhere_in_its_header_is_refused(tmp_path: Path) -> None:
    content = write_gguf(tmp_path / "model.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for size in range(len(content) - 600):
        path.write_bytes(content[:size])
        with pytest.raises(BadInput, match=r"cut\.gguf"):
            GgufFile(path)
