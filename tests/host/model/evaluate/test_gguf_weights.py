from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.arithmetic import arithmetic_of
from smoothdroid.host.model.evaluate.gguf_weights import ROWS_AT_ONCE, GgufWeights
from tests.host.tiny_gguf import BF16, F16, F32, Q8_0, write_llama

Floats = np.ndarray[Any, Any]
ROWS = ROWS_AT_ONCE + 7


@pytest.fixture
def matrix() -> Floats:
    return np.random.default_rng(1).normal(0, 1, (ROWS, 32)).astype(np.float32)


def written(path: Path, matrix: Floats, kind: GGMLQuantizationType) -> GgufWeights:
    """A file with `matrix` as x.weight and a bias."""
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("x.weight", quantize(matrix, kind), raw_dtype=kind)
    writer.add_tensor("x.bias", np.arange(len(matrix), dtype=np.float32))
    writer.add_float32("llama.nan", float("nan"))
    writer.add_bool("llama.yes", True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufWeights(path)


@pytest.mark.parametrize("kind", [Q8_0, F32, F16, BF16])
def test_a_linear(tmp_path: Path, matrix: Floats, kind: GGMLQuantizationType) -> None:
    weights, ggml = written(tmp_path / "x.gguf", matrix, kind), arithmetic_of("ggml")
    linear = weights.linear("x", (ROWS, 32), ggml)
    stored = torch.from_numpy(dequantize(quantize(matrix, kind), kind))
    assert torch.equal(linear.weight, stored)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    rounded = {Q8_0: ggml.activations(x, "q8_0"), F32: x, F16: x.half().float(), BF16: x.bfloat16().float()}[kind]
    assert torch.allclose(linear(x), rounded @ stored.T + torch.arange(ROWS), rtol=1e-5, atol=1e-4)
    assert torch.equal(weights.rows("x.weight", torch.tensor([5, ROWS - 1]), (ROWS, 32)), stored[[5, -1]])
    assert weights.length("x.weight") == ROWS


def test_a_linear_under_another_kernel(tmp_path: Path, matrix: Floats) -> None:
    weights, kernel = written(tmp_path / "x.gguf", matrix, Q8_0), arithmetic_of("kleidiai")
    linear = weights.linear("x", (ROWS, 32), kernel)
    assert torch.equal(linear.weight, kernel.weights(torch.from_numpy(matrix), "q8_0"))


def test_an_unknown_type_is_named(tmp_path: Path, matrix: Floats) -> None:
    weights = written(tmp_path / "x.gguf", matrix, GGMLQuantizationType.Q5_0)
    with pytest.raises(BadInput, match=r"x\.weight is Q5_0, .*There are Q8_0, Q4_0, F32, F16, BF16; .*--pure"):
        weights.linear("x", (ROWS, 32), arithmetic_of("ggml"))


def test_what_is_not_there_or_does_not_fit(tmp_path: Path, matrix: Floats) -> None:
    weights, ggml = written(tmp_path / "x.gguf", matrix, F32), arithmetic_of("ggml")
    with pytest.raises(BadInput, match=r"the tensor y\.weight is not there"):
        weights.linear("y", (ROWS, 32), ggml)
    with pytest.raises(BadInput, match=rf"x\.weight is \[{ROWS}, 32\], and by its settings \[1000000000, 32\]"):
        weights.linear("x", (1_000_000_000, 32), ggml)
    with pytest.raises(BadInput, match=r"x\.bias is"):
        weights.vector("x.bias", 3)


def test_settings(tmp_path: Path, matrix: Floats) -> None:
    weights = written(tmp_path / "x.gguf", matrix, F32)
    assert weights.text("general.architecture") == "llama"
    assert weights.whole("llama.nowhere", 3) == 3
    assert weights.bos is None
    assert GgufWeights(write_llama(tmp_path / "llama.gguf")).bos == 1
    for setting in ("llama.nan", "llama.yes", "general.architecture", "llama.nowhere"):
        with pytest.raises(BadInput, match=rf"{setting} is .*: a positive number was expected"):
            weights.number(setting)
    with pytest.raises(BadInput, match="a word was expected"):
        weights.text("llama.yes")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all, but long enough to be one" * 9, None])
def test_what_is_no_gguf(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.gguf"):
        GgufWeights(tmp_path / "x.gguf")
