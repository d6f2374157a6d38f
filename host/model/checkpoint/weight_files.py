"""A checkpoint's weight files, and the names, types and shapes of their tensors. Reads headers only."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.json_file import read_object

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
PYTORCH_FILE = "pytorch_model.bin"
WEIGHTS = (SINGLE_FILE, INDEX_FILE, PYTORCH_FILE, f"{PYTORCH_FILE}.index.json")

# safetensors' own limit on a header (MAX_HEADER_SIZE in safetensors/src/tensor.rs). The length comes out of
# the file: without a limit, eight bytes of rubbish would have us read 16 EB.
MAX_HEADER_BYTES = 100_000_000

# Quantised weights are stored as the types that are not here. The last two hold positions and masks: GPT-2's and
# others' checkpoints carry such buffers beside their weights, and the converter leaves them out.
BYTES_PER_ELEMENT = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "BOOL": 1}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file's header describes it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """The size in bytes."""
        return self.n_elements * BYTES_PER_ELEMENT[self.dtype]


def tensors_by_file(path: Path) -> dict[Path, dict[str, TensorInfo]]:
    """Return the tensors of each weight file of the checkpoint in the folder `path`.

    Raises BadInput where weight files are missing or damaged, or do not hold the tensors that their index promises.
    """
    files, indexed = _find(path)
    tensors = {file: _read_header(file) for file in files}
    missing = sorted(indexed - {name for names in tensors.values() for name in names})
    if missing:
        raise BadInput(
            f"{path / INDEX_FILE}: names {len(missing)} tensors that are in none of its files, "
            f"{missing[0]} among them. Index and files do not belong together; fetch the checkpoint again."
        )
    return tensors


def read_safetensors_header(file: Path) -> dict[str, TensorInfo]:
    """Return the tensors of a safetensors file, from its header alone.

    The format: 8 bytes little-endian header length, that many bytes of JSON, the tensors' bytes.
    Raises BadInput where the header is not one, a dtype is not a float of 16 bits or more, or the file
    does not end where its header says.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise _broken(file, "it does not begin as a safetensors file does")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _broken(file, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _broken(file, "its header is not a table of tensors")
    header.pop("__metadata__", None)
    tensors: dict[str, TensorInfo] = {}
    end_of_data = 0
    for name, entry in header.items():
        tensors[name], end = _entry(file, name, entry)
        end_of_data = max(end_of_data, end)
    if size != 8 + length + end_of_data:
        raise _broken(file, f"it should have {8 + length + end_of_data} bytes by its header, and has {size}")
    return tensors


def _entry(file: Path, name: str, entry: Any) -> tuple[TensorInfo, int]:  # noqa: ANN401 - any JSON
    """Return (the tensor, the end of its data) of a header's entry. Raises BadInput where the entry is damaged."""
    try:
        dtype, (begin, end) = entry["dtype"], entry["data_offsets"]
        shape = tuple(entry["shape"])
        sane = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(file, f"its header has no dtype, shape and place for {name}") from error
    if not sane:
        raise _broken(file, f"the dtype, shape or place of {name} makes no sense")
    _require_known(file, name, dtype)
    tensor = TensorInfo(dtype, shape)
    if end - begin != tensor.n_bytes:
        raise _broken(file, f"the size of {name} does not fit its shape")
    return tensor, end


def _find(path: Path) -> tuple[tuple[Path, ...], set[str]]:
    """Return (the weight files, the tensors that the index promises); a single file has no index."""
    for single in (SINGLE_FILE, PYTORCH_FILE):  # safetensors where there are both
        index = path / f"{single}.index.json"
        if index.is_file():
            return _shards(path, index, Path(single).suffix)
        if (path / single).is_file():
            return (path / single,), set()
    raise BadInput(
        f"{path}: no weights: neither {SINGLE_FILE} nor {INDEX_FILE} is there, and no {PYTORCH_FILE} of an older "
        "checkpoint."
    )


def _shards(path: Path, index: Path, suffix: str) -> tuple[tuple[Path, ...], set[str]]:
    weight_map = read_object(index).get("weight_map")
    if not (isinstance(weight_map, dict) and weight_map):
        raise BadInput(f'{index}: no "weight_map". Fetch the file again.')
    shards = sorted({str(shard) for shard in weight_map.values()})
    # A name with a slash would be read, and later written, outside of the folder.
    odd = [shard for shard in shards if Path(shard).name != shard or not shard.endswith(suffix)]
    if odd:
        raise BadInput(f"{index}: {odd[0]!r} is no name of a {suffix} file in this folder.")
    missing = [shard for shard in shards if not (path / shard).is_file()]
    if missing:
        raise BadInput(
            f"{path}: {len(missing)} of {len(shards)} weight files are missing: {', '.join(missing)}. "
            "Fetch them from where the checkpoint came from."
        )
    return tuple(path / shard for shard in shards), set(weight_map)


def _read_header(file: Path) -> dict[str, TensorInfo]:
    if file.suffix != ".bin":
        return read_safetensors_header(file)
    from smoothdroid.host.model.checkpoint.pytorch_file import header  # only these old files need torch to be described

    tensors = {name: TensorInfo(dtype, shape) for name, (dtype, shape) in header(file).items()}
    for name, tensor in tensors.items():
        _require_known(file, name, tensor.dtype)
    return tensors


def _require_known(file: Path, name: str, dtype: str) -> None:
    if dtype not in BYTES_PER_ELEMENT:
        raise BadInput(
            f"{file}: {name} is stored as {dtype}; only {', '.join(BYTES_PER_ELEMENT)} are read. "
            "Give a checkpoint that is not quantised."
        )


def _broken(file: Path, why: str) -> BadInput:
    return BadInput(f"{file}: cut short or damaged: {why}. Fetch the file again.")
