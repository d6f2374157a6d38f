"""Importance matrices: the mean square of what each column of a weight is multiplied with, in llama.cpp's format."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.reader import MAGIC, GgufFile, reading

SUMS, COUNTS = ".in_sum2", ".counts"
CHUNKS, CHUNK_SIZE, DATASETS = "imatrix.chunk_count", "imatrix.chunk_size", "imatrix.datasets"

MOST_ENTRIES = 1 << 16
LONGEST_NAME = 1 << 10
MOST_VALUES = 1 << 28
"""The largest entry of a .dat file that is read, in values: some 256 experts of width 10,000 have 1 % of that."""

_EXPERT = re.compile(r"(?<=\.experts\.)\d+\.")
_ROUTER = "ffn_gate_inp"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ImportanceMatrix:
    """The importance of the columns of each matrix of the decoder layers, by the matrix' name in a GGUF.

    `squares`: float32 [experts, columns], the mean over tokens of the square of what a column is multiplied with; one
    row where there are no experts. `counts`: float32 [experts], the tokens of each mean. `chunks` texts of `chunk_size`
    tokens were run, from the files or texts called `datasets`.
    """

    squares: Mapping[str, Floats]
    counts: Mapping[str, Floats]
    chunks: int
    chunk_size: int
    datasets: tuple[str, ...]

    def divided(self, scales: Mapping[str, Floats]) -> ImportanceMatrix:
        """Return the matrix of a model whose activations are divided by `scales` [experts or 1, columns], by name."""
        squares = {
            name: (square / np.square(scales[name])).astype(np.float32) if name in scales else square
            for name, square in self.squares.items()
        }
        return ImportanceMatrix(squares, self.counts, self.chunks, self.chunk_size, self.datasets)

    def require_fits(self, file: Path, model: Path) -> None:
        """Raise BadInput where this matrix, read from `file`, has no entry for a matrix of the GGUF `model`."""
        for tensor in GgufFile(model).tensors:
            if not _is_rounded(tensor):
                continue
            width, experts = int(tensor.shape[0]), int(np.prod(tensor.shape[2:]))
            if tensor.name not in self.squares:
                raise BadInput(f"{file}: this importance matrix has no entry for {tensor.name}: {OTHER_MODEL}")
            if (there := self.squares[tensor.name].shape) != (experts, width):
                raise BadInput(
                    f"{file}: {tensor.name} has {there[1]} columns and {there[0]} experts in this importance matrix, "
                    f"and {width} and {experts} in the model: {OTHER_MODEL}"
                )


OTHER_MODEL = "it belongs to another model. Give that of this one, or the name of a file that is yet to be made."


def _is_rounded(tensor: gguf.ReaderTensor) -> bool:
    name = tensor.name
    return name.startswith("blk.") and name.endswith(".weight") and len(tensor.shape) > 1 and _ROUTER not in name


def read_imatrix(file: Path) -> ImportanceMatrix:
    """Read an importance matrix: a GGUF, or the .dat file of earlier versions of llama-imatrix.

    Raises BadInput where the file is neither, is damaged, or holds a number that is no importance.
    """
    try:
        with file.open("rb") as stream:
            is_gguf = stream.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}.") from error
    read = _read_gguf(file) if is_gguf else _read_dat(file)
    for name, squares in read.squares.items():
        if not (np.isfinite(squares).all() and (squares >= 0).all()):
            raise BadInput(f"{file}: the importance of {name} holds a negative number, NaN or infinity: make it again.")
    return read


def _read_gguf(file: Path) -> ImportanceMatrix:
    stored = GgufFile(file)
    if stored.value("general.type") != "imatrix":
        raise BadInput(f"{file}: this GGUF is no importance matrix: its general.type is not imatrix.")
    with reading(file):
        values = {tensor.name: np.array(tensor.data, np.float32) for tensor in stored.tensors}
    squares: dict[str, Floats] = {}
    counts: dict[str, Floats] = {}
    for name in (each.removesuffix(SUMS) for each in values if each.endswith(SUMS)):
        sums, count = np.atleast_2d(values[name + SUMS]), values.get(name + COUNTS)
        if count is None or count.size != len(sums):
            raise BadInput(f"{file}: {name} has no count of tokens for each of its sums: the file is damaged.")
        counts[name] = count.reshape(-1)
        # No token reached an expert without a count: llama.cpp then takes all of its columns for equal.
        squares[name] = np.where(counts[name][:, None] > 0, sums / np.maximum(counts[name], 1)[:, None], 1)
    if not squares:
        raise BadInput(f"{file}: this importance matrix has no entries.")
    chunks, chunk_size, datasets = (stored.value(key) for key in (CHUNKS, CHUNK_SIZE, DATASETS))
    return ImportanceMatrix(
        squares,
        counts,
        chunks if isinstance(chunks, int) else 0,
        chunk_size if isinstance(chunk_size, int) else 0,
        tuple(map(str, datasets)) if isinstance(datasets, list) else (),
    )


def _read_dat(file: Path) -> ImportanceMatrix:
    """Read the older format: a number of entries, each a name, the calls, and the mean squares times the calls."""
    squares: dict[str, Floats] = {}
    counts: dict[str, Floats] = {}
    try:
        with file.open("rb") as stream:

            def number(most: int) -> int:
                value = int(struct.unpack("<i", stream.read(4))[0])
                if not 0 <= value <= most:
                    raise ValueError(value)
                return value

            for _ in range(number(MOST_ENTRIES)):
                name = stream.read(number(LONGEST_NAME)).decode("utf-8")
                calls, n_values = number(1 << 30), number(MOST_VALUES)
                content = stream.read(4 * n_values)
                if len(content) < 4 * n_values or not n_values:
                    raise ValueError(n_values)
                squares[name] = (np.frombuffer(content, "<f4")[None] / max(calls, 1)).astype(np.float32)
                counts[name] = np.array([max(calls, 1)], np.float32)
    except (ValueError, struct.error) as error:
        raise BadInput(
            f"{file}: neither an importance matrix in GGUF nor a .dat file of llama-imatrix, or cut short."
        ) from error
    if not squares:
        raise BadInput(f"{file}: this importance matrix has no entries.")
    return ImportanceMatrix(squares, counts, 0, 0, ())


def write_imatrix(matrix: ImportanceMatrix, file: Path) -> None:
    """Write the importance matrix as llama-imatrix does: a GGUF with sums of squares and counts of tokens."""
    writer = gguf.GGUFWriter(file, "")
    writer.kv_data[0].clear()  # the architecture, which llama-imatrix does not write
    writer.add_type("imatrix")
    writer.add_array(DATASETS, list(matrix.datasets) or ["unknown"])
    writer.add_uint32(CHUNKS, matrix.chunks)
    writer.add_uint32(CHUNK_SIZE, matrix.chunk_size)
    for name in sorted(matrix.squares):
        counts = matrix.counts[name].astype(np.float32)
        counts = np.broadcast_to(counts, len(matrix.squares[name]))
        writer.add_tensor(name + SUMS, np.ascontiguousarray(matrix.squares[name] * counts[:, None], np.float32))
        writer.add_tensor(name + COUNTS, np.ascontiguousarray(counts[:, None], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measured_matrix(
    squares: Path, architecture: str, *, chunks: int, chunk_size: int, dataset: str
) -> ImportanceMatrix:
    """Return the importance matrix of the mean squares that `InputSquares.save` wrote, of a checkpoint.

    `architecture`: llama.cpp's name of it.
    """
    with safe_open(squares, framework="numpy") as stored:
        means = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - safe_open is no mapping
        counts = json.loads(stored.metadata()["counts"])
    return ImportanceMatrix(
        in_gguf(means, architecture),
        {name: count[:, 0] for name, count in in_gguf({n: np.array([counts[n]]) for n in means}, architecture).items()},
        chunks,
        chunk_size,
        (dataset,),
    )


def column_scales(changes: Path, architecture: str) -> dict[str, Floats]:
    """Return the scales [experts or 1, columns] that folds multiply columns by, by the matrix' name in a GGUF.

    `changes`: a file that `save_changes` wrote, read here without torch.
    """
    with safe_open(changes, framework="numpy") as opened:
        described = json.loads(opened.metadata()["changes"])
        places = {name: change["stored"].get("columns") for name, change in described.items()}
        return in_gguf({name: opened.get_tensor(place) for name, place in places.items() if place}, architecture)


def in_gguf(vectors: Mapping[str, NDArray[np.floating]], architecture: str) -> dict[str, Floats]:
    """Return vectors [columns] of a checkpoint's tensors by the tensors' names in a GGUF: float32 [experts, columns].

    The experts of a layer, which the GGUF holds in one tensor, are stacked in their order. A head is left out.
    """
    known = next(each for each, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    layers = [int(found[1]) for name in vectors if (found := re.search(r"\.layers\.(\d+)\.", name))]
    names = gguf.get_tensor_name_map(known, max(layers, default=-1) + 1)
    together: dict[str, list[NDArray[np.floating]]] = {}
    for name in sorted(vectors, key=_by_expert):
        placed = names.get_name(_EXPERT.sub("", name), try_suffixes=(".weight",))
        if placed and placed.startswith("blk."):
            together.setdefault(placed, []).append(vectors[name])
    return {name: np.stack(parts).astype(np.float32) for name, parts in together.items()}


def _by_expert(name: str) -> int:
    found = _EXPERT.search(name)
    return int(found[0][:-1]) if found else 0
