"""The table of a GGUF's types, by llama.cpp's names: the types of its tensors, their sizes, and who writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BLOCKS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "f32": (1, 4),
        "f16": (1, 2),
        "bf16": (1, 2),
        "q8_0": (32, 34),
        "q5_0": (32, 22),
        "q5_1": (32, 24),
        "q4_0": (32, 18),
        "q4_1": (32, 20),
        "iq4_nl": (32, 18),
        "q6_k": (256, 210),
        "q5_k": (256, 176),
        "q4_k": (256, 144),
    }
)
"""The values in a block of each tensor type, and the block's bytes (GGML_QUANT_SIZES in gguf-py)."""

FALLBACKS: Mapping[str, str] = MappingProxyType({"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"})
"""The type that a tensor gets where its width is no multiple of the block (`tensor_type_fallback` in llama.cpp's
src/llama-quant.cpp); where that fits no better, and for all other types, it is F16."""

FLOATS = ("f32", "f16", "bf16")

CONVERTED = (*FLOATS, "q8_0", "q4_0")
"""The tensor types that llama.cpp's converter writes, with our changes made on the way. llama-quantize writes the
others, from an intermediate file in float32."""

HEADS = ("tied", "q8_0", "f16", "q6_k")
"""The choices of `--head`: types of its tensor, and `tied`, which refuses it a tensor of its own."""


@dataclass(frozen=True)
class FileType:
    """One row of the table: a type of GGUF.

    `matrices`: the type of most matrices. `more`: the type of those v and down matrices that llama-quantize gives more
    bits. `head`: the type that llama-quantize gives the head, or the embedding where the two are tied.
    """

    matrices: str
    more: str | None = None
    head: str = "q6_k"

    @property
    def rounds_by_importance(self) -> bool:
        """True where llama.cpp's rounding makes use of an importance matrix."""
        return self.matrices not in (*FLOATS, "q8_0")


FILE_TYPES: Mapping[str, FileType] = MappingProxyType(
    {
        "f32": FileType("f32", head="f32"),
        "f16": FileType("f16", head="f16"),
        "bf16": FileType("bf16", head="bf16"),
        "q8_0": FileType("q8_0", head="q8_0"),
        "q6_k": FileType("q6_k"),
        "q5_k_m": FileType("q5_k", more="q6_k"),
        "q4_k_m": FileType("q4_k", more="q6_k"),
        "iq4_nl": FileType("iq4_nl", more="q5_k"),
        "q4_1": FileType("q4_1"),
        "q4_0": FileType("q4_0"),
    }
)
"""The types that `--type` takes. A new type is one row."""


def fitting(tensor_type: str, width: int) -> str:
    """Return the type that llama.cpp gives a tensor with rows of `width` values where `tensor_type` is wanted."""
    for choice in (tensor_type, FALLBACKS.get(tensor_type, "f16")):
        if width % BLOCKS[choice][0] == 0:
            return choice
    return "f16"


def stored_bytes(tensor_type: str, width: int, n_elements: int) -> int:
    """Return the size of a tensor with rows of `width` values, of `tensor_type` or of llama.cpp's fallback."""
    block, size = BLOCKS[fitting(tensor_type, width)]
    return n_elements // block * size


def wanted_head(file_type: str, chosen: str | None) -> str:
    """Return the type wanted of the head's tensor: the one `chosen` by `--head`, or the one llama-quantize wants."""
    return FILE_TYPES[file_type].head if chosen is None or chosen == "tied" else chosen


def head_type(file_type: str, chosen: str | None, width: int) -> str:
    """Return the type that the head's tensor gets, with rows of `width` values; `chosen` as in `wanted_head`."""
    return fitting(wanted_head(file_type, chosen), width)


def emulated(tensor_type: str) -> str | None:
    """Return the type whose arithmetic stands in for `tensor_type` where alphas are measured; None for floats.

    Q4_0 stands in for types of less than 6 bits, Q8_0 for the others.
    """
    if tensor_type in FLOATS:
        return None
    block, size = BLOCKS[tensor_type]
    return "q4_0" if 8 * size / block < 6 else "q8_0"
