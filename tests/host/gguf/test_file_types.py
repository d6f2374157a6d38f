"""The table of types against gguf-py."""

from __future__ import annotations

from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES

from smoothdroid.host.gguf.file_types import BLOCKS, emulated, fitting, head_type


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
