"""What is refused. That the network is llama.cpp's, test_emulated_kernels.py holds against llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader, GGUFWriter

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.arithmetic import arithmetic_of
from smoothdroid.host.model.evaluate.gguf_network import predict, sizes_of
from smoothdroid.host.model.evaluate.gguf_weights import GgufWeights
from tests.host.tiny_gguf import CONTEXT, HIDDEN, LAYERS, VOCABULARY, write_llama


def test_the_shape_of_a_model(tmp_path: Path) -> None:
    shape = sizes_of(GgufWeights(write_llama(tmp_path / "x.gguf")))
    assert (shape.vocabulary, shape.layers, shape.hidden) == (VOCABULARY, LAYERS, HIDDEN)
    assert (shape.heads, shape.kv_heads, shape.head) == (4, 2, 16)
    assert shape.rope_base == 10000


def test_windows_do_not_see_each_other_nor_what_comes(tmp_path: Path) -> None:
    weights, ggml = GgufWeights(write_llama(tmp_path / "x.gguf")), arithmetic_of("ggml")
    tokens = torch.randint(0, VOCABULARY, (3, 32), generator=torch.Generator().manual_seed(1))
    reports: list[tuple[int, int]] = []
    together = list(predict(weights, tokens, ggml, first=16, on_step=lambda *step: reports.append(step)))
    assert [window.shape for window in together] == [(15, VOCABULARY)] * 3
    assert reports == [(step, LAYERS + 3) for step in range(1, LAYERS + 4)]
    (alone,) = predict(weights, tokens[1:2], ggml, first=16)
    assert torch.equal(alone, together[1])
    tokens[1, 20] += 1
    (changed,) = predict(weights, tokens[1:2], ggml, first=16)
    assert torch.allclose(changed[:4], alone[:4], atol=1e-4)
    assert not torch.allclose(changed[4], alone[4], atol=1e-2)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            {"architecture": "gemma"},
            r"architecture gemma is not emulated\. There are llama, mistral3, ernie4_5, qwen2",
        ),
        ({"settings": {"rope.scaling.factor": 4.0}}, r"setting llama\.rope\.scaling\.factor is not emulated"),
        ({"settings": {"expert_count": 8.0}}, r"setting llama\.expert_count is not emulated"),
        ({"settings": {"attention.key_length": 15.0}}, r"rope\.dimension_count that is not the head's size, 15,"),
        ({"settings": {"rope.freq_base": -1.0}}, r"rope\.freq_base is -1\.0: a positive number"),
    ],
    ids=str,
)
def test_what_is_not_followed_is_refused(tmp_path: Path, made: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        sizes_of(GgufWeights(write_llama(tmp_path / "x.gguf", **made)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("blk.1.ffn_up.weight", "blk.2.ffn_up.weight", "tensor blk.2.ffn_up.weight is not emulated"),
        ("blk.1.ffn_up.weight", "blk.1.ffn_up_exps.weight", "tensor blk.1.ffn_up_exps.weight is not emulated"),
        ("output_norm.weight", "output_norm.bias", "tensor output_norm.bias is not emulated"),
        ("blk.1.ffn_norm.weight", "rope_freqs.weight", r"rope_freqs.weight is \[64\], and by its settings \[8\]"),
        ("blk.1.ffn_up.weight", "output.weight2", "tensor output.weight2 is not emulated"),
    ],
)
def test_a_tensor_too_many_or_too_few(tmp_path: Path, old: str, new: str, says: str) -> None:
    gguf = renamed(write_llama(tmp_path / "x.gguf"), old, new)
    with pytest.raises(BadInput, match=says):
        list(predict(GgufWeights(gguf), torch.zeros(1, 8, dtype=torch.int64), arithmetic_of("ggml"), first=4))


def renamed(gguf: Path, old: str, new: str) -> Path:
    """A copy of a model of the tiny one's sizes, with one tensor's name changed."""
    reader, copy = GGUFReader(gguf), gguf.with_name("renamed.gguf")
    writer = GGUFWriter(copy, "llama")
    writer.add_context_length(CONTEXT)
    for name in ("embedding_length", "block_count", "feed_forward_length", "attention.head_count"):
        writer.add_uint32(f"llama.{name}", reader.fields[f"llama.{name}"].contents())
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    for tensor in reader.tensors:
        writer.add_tensor(new if tensor.name == old else tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return copy
