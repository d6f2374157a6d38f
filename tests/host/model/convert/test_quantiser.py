"""llama-quantize, the real one: sizes, heads and fallbacks as the table of types predicts them, and its messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import GGUFReader

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.gguf.file_types import FILE_TYPES, FLOATS
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.convert.conversion import to_gguf
from smoothdroid.host.model.convert.quantiser import fallbacks, quantise
from smoothdroid.host.model.recipes import gguf_bytes, type_of_head

MakeCheckpoint = Callable[..., Path]


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


def test_its_own_message_is_shown_and_its_log_kept(tmp_path: Path, llama_quantize: Path) -> None:
    (tmp_path / "exact.gguf").write_bytes(b"GGUF")
    log = tmp_path / "log"
    with pytest.raises(SmoothdroidError, match=r"llama-quantize, on x\.gguf, failed: .*Its output is .*log"):
        quantise(tmp_path / "exact.gguf", tmp_path / "x.gguf", "q4_1", llama_quantize, log=log)
    assert "exact.gguf" in log.read_text()
