"""Importance matrices: llama.cpp's formats, damage, and a real llama-quantize that reads what is written."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.imatrix import ImportanceMatrix, in_gguf, read_imatrix, write_imatrix

MATRIX = ImportanceMatrix(
    squares={
        "blk.0.attn_q.weight": np.array([[1.0, 4.0]], np.float32),
        "blk.0.ffn_up_exps.weight": np.array([[2.0, 3.0], [1.0, 1.0]], np.float32),
    },
    counts={
        "blk.0.attn_q.weight": np.array([8], np.float32),
        "blk.0.ffn_up_exps.weight": np.array([5, 0], np.float32),
    },
    chunks=2,
    chunk_size=4,
    datasets=("prose.txt",),
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "x.imatrix"
    write_imatrix(MATRIX, file)
    again = read_imatrix(file)
    assert again.squares.keys() == MATRIX.squares.keys()
    for name, squares in MATRIX.squares.items():
        assert np.array_equal(again.squares[name], squares)
        assert np.array_equal(again.counts[name], MATRIX.counts[name])
    assert (again.chunks, again.chunk_size, again.datasets) == (2, 4, ("prose.txt",))


def test_the_file_is_laid_out_as_llama_imatrix_does(tmp_path: Path) -> None:
    """Keys, and sums with counts (save_imatrix in llama.cpp's tools/imatrix/imatrix.cpp)."""
    write_imatrix(MATRIX, tmp_path / "x.gguf")
    reader = GGUFReader(tmp_path / "x.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert fields == {
        "general.type": "imatrix",
        "imatrix.datasets": ["prose.txt"],
        "imatrix.chunk_count": 2,
        "imatrix.chunk_size": 4,
    }
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert tensors["blk.0.attn_q.weight.in_sum2"].tolist() == [[8, 32]]
    assert tensors["blk.0.ffn_up_exps.weight.in_sum2"].tolist() == [[10, 15], [0, 0]]
    assert tensors["blk.0.ffn_up_exps.weight.counts"].reshape(-1).tolist() == [5, 0]


def dat(entries: list[tuple[bytes, int, list[float]]]) -> bytes:
    parts = [struct.pack("<i", len(entries))]
    for name, calls, values in entries:
        parts += [struct.pack("<i", len(name)), name, struct.pack("<ii", calls, len(values))]
        parts.append(struct.pack(f"<{len(values)}f", *values))
    return b"".join(parts)


def test_the_older_format_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.dat"
    file.write_bytes(dat([(b"blk.0.attn_q.weight", 4, [2.0, 8.0])]) + struct.pack("<ii", 4, 1) + b"t")
    assert read_imatrix(file).squares["blk.0.attn_q.weight"].tolist() == [[0.5, 2.0]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither an importance matrix"),
        (b"hello, this is a text", "neither an importance matrix"),
        (dat([(b"blk.0.attn_q.weight", 4, [2.0, 8.0])])[:-1], "cut short"),
        (dat([]), "no entries"),
        (dat([(b"blk.0.attn_q.weight", 1, [float("nan")])]), r"blk\.0\.attn_q\.weight holds a negative number, NaN"),
        (dat([(b"blk.0.attn_q.weight", 1, [-1.0])]), "holds a negative number"),
        (struct.pack("<ii", 1, 1 << 30), "neither an importance matrix"),
        (b"GGUF", "cut short or damaged"),
    ],
)
def test_damage_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadInput, match=says):
        read_imatrix(tmp_path / "x")


def test_a_gguf_that_is_none(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BadInput, match=r"general\.type is not imatrix"):
        read_imatrix(tmp_path / "x.gguf")
    with pytest.raises(BadInput, match=r"no entry for blk\.0\.attn_q\.weight: it belongs to another model"):
        ImportanceMatrix({}, {}, 0, 0, ()).require_fits(Path("im"), tmp_path / "x.gguf")
    with pytest.raises(BadInput, match=r"2 columns and 1 experts in this importance matrix, and 32 and 1 in the model"):
        MATRIX.require_fits(Path("im"), tmp_path / "x.gguf")


def test_experts_are_stacked_in_their_order() -> None:
    vectors = {
        f"model.layers.1.block_sparse_moe.experts.{number}.w2.weight": np.array([number], np.float32)
        for number in (10, 2, 0)
    }
    vectors["lm_head.weight"] = np.array([1], np.float32)
    assert {name: values.tolist() for name, values in in_gguf(vectors, "llama").items()} == {
        "blk.1.ffn_down_exps.weight": [[0], [2], [10]]
    }
