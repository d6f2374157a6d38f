"""The table of types against gguf-py, and against what the real llama-quantize writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.constants import GGML_QUANT_SIZES

from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.convert.conversion import to_gguf
from smoothdroid.host.model.convert.quantiser import fallbacks, quantise
from smoothdroid.host.model.file_types import BLOCKS, FILE_TYPES, FLOATS, emulated, fitting, head_type
from smoothdroid.host.model.recipes import gguf_bytes, type_of_head

MakeCheckpoint = Callable[..., Path]


def test_blocks_are_those_of_gguf_py() -> None:
    assert {name: GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]] for name in BLOCKS} == BLOCKS


def test_heads_fit_the_width() -> None:
    assert [head_type("q4_0", None, width) for width in (2048, 576, 60)] == ["q6_k", "q8_0", "f16"]
    assert [head_type("q8_0", chosen, 2048) for chosen in (None, "tied", "f16")] == ["q8_0", "q8_0", "f16"]
    assert fitting("q4_k", 60) == "f16"


def test_stand_ins_where_alphas_are_measured() -> None:
    assert [emulated(name) for name in ("q8_0", "q6_k", "iq4_nl", "q4_k", "q5_k", "bf16")] == [
        "q8_0",
        "q8_0",
        "q4_0",
        "q4_0",
        "q4_0",
        None,
    ]


@pytest.mark.parametrize("width", [64, 256])
def test_sizes_and_heads_are_those_of_llama_quantize(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, llama_cpp: Path, llama_quantize: Path, width: int
) -> None:
    """For every row: the head's type as predicted, the size, and a note exactly where a type does not fit."""
    model = make_checkpoint(
        tied=True, config={"hidden_size": width, "num_attention_heads": 4, "intermediate_size": 512}
    )
    checkpoint, exact = open_checkpoint(model), tmp_path / "exact.gguf"
    to_gguf(model, exact, "f32", llama_cpp, name="x", log=tmp_path / "log")
    for file_type, row in FILE_TYPES.items():
        made = tmp_path / f"{file_type}.gguf"
        quantise(exact, made, file_type, llama_quantize, log=tmp_path / "log")
        tensors = {tensor.name: tensor for tensor in GGUFReader(made).tensors}
        head = type_of_head(checkpoint, file_type, None)
        assert tensors["token_embd.weight"].tensor_type.name.lower() == head
        size = sum(int(tensor.n_bytes) for tensor in tensors.values())
        predicted = gguf_bytes(checkpoint, file_type, head, untied=False)
        if row.more:
            assert size <= predicted < 1.15 * size
        else:
            assert predicted == size
        note = fallbacks(made, file_type, None)
        if width == 256 or file_type in (*FLOATS, "q8_0"):
            assert note is None
        else:
            assert note is not None
            assert "q8_0 for q6_k in" in note
            assert "of width 64" in note
