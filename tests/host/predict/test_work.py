from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType, quants

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf import artifact
from smoothdroid.host.predict import work
from tests.host import tiny_gguf
from tests.host.fakes import write_gguf
from tests.host.tiny_gguf import write_llama

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
MATRICES = 2 * (256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 384)


def checkpoint(folder: Path, **changes: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    return str(folder)


def test_llama_2_7b_is_what_is_known_of_it() -> None:
    """6.74e9 parameters, 131e6 of them in the embedding; half a MiB of KV cache for a token."""
    asked = work.of("Llama-2-7B")
    assert asked.weights_bytes == (6_738_415_616 - 4096 * 32000 - 65 * 4096) * 34 // 32
    assert asked.cache_bytes == 2**19
    assert asked.operations == 2 * (asked.weights_bytes * 32 // 34 - 4096 * 32000)


@pytest.mark.parametrize("name", work.known())
def test_a_well_known_model_is_as_large_as_it_is_called(name: str) -> None:
    told, unit = float(name.rpartition("-")[2][:-1]), {"b": 1e9, "m": 1e6}[name[-1]]
    assert work.of(name, "f16").weights_bytes / 2 == pytest.approx(told * unit, rel=0.25)


@pytest.mark.parametrize(
    ("type_", "bits", "kind"), [("q8_0", 8.5, "int8"), ("q4_0", 4.5, "int8"), ("f16", 16, "f16"), ("bf16", 16, "f32")]
)
def test_a_checkpoint_is_read_from_its_config(tmp_path: Path, type_: str, bits: float, kind: str) -> None:
    asked = work.of(checkpoint(tmp_path / "small"), type_)
    assert asked.name == f"small {type_}"
    assert asked.weights_bytes == (MATRICES + 256 * 100) * bits / 8
    assert asked.multiplied == MATRICES
    assert asked.cache_bytes == 2 * 2 * 128 * 2
    assert asked.kind == kind


def test_a_language_model_inside_another_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "vision"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": LLAMA}))
    assert work.of(str(folder)).multiplied == MATRICES


@pytest.mark.parametrize("type_", [GGMLQuantizationType.Q8_0, GGMLQuantizationType.F16, GGMLQuantizationType.F32])
def test_a_gguf_says_what_its_numbers_say(tmp_path: Path, type_: GGMLQuantizationType) -> None:
    """The bytes of the file's own tensors, against the arithmetic on a checkpoint of the same shape."""
    file = work.of(str(write_llama(tmp_path / "tiny.gguf", type_)))
    numbers = {"hidden_size": tiny_gguf.HIDDEN, "intermediate_size": tiny_gguf.FFN, "vocab_size": tiny_gguf.VOCABULARY}
    asked = work.of_config({**LLAMA, **numbers}, type_.name.lower(), "tiny")
    norms = 4 * tiny_gguf.HIDDEN * (2 * tiny_gguf.LAYERS + 1)
    assert file == replace(asked, name="tiny", weights_bytes=asked.weights_bytes + norms)


def test_a_window_reads_no_more_than_it_is_wide(tmp_path: Path) -> None:
    near = work.of(checkpoint(tmp_path / "near", sliding_window=512))
    far = work.of(checkpoint(tmp_path / "far"))
    off = work.of(checkpoint(tmp_path / "off", sliding_window=512, use_sliding_window=False))
    assert near.decode_bytes(100) == far.decode_bytes(100) == off.decode_bytes(100)
    assert near.decode_bytes(4096) == near.decode_bytes(512) < far.decode_bytes(4096) == off.decode_bytes(4096)
    assert far.decode_bytes(4096) - far.decode_bytes(0) == 4096 * far.cache_bytes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "mixtral"}, "unknown architecture 'mixtral'"),
        ({"model_type": ["llama"]}, "unknown architecture"),
        ({"hidden_size": 0}, "hidden_size is 0, not a positive integer"),
        ({"hidden_size": 2**40}, "not a positive integer"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers is many, not a positive integer"),
        ({"vocab_size": None}, "vocab_size is None, not a positive integer"),
        ({"head_dim": True}, "head_dim is True, not a positive integer"),
    ],
)
def test_a_bad_config_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        work.of(checkpoint(tmp_path / "bad", **changes))


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b"null", b"[" * 100_000])
def test_a_config_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"config\.json is not (valid JSON|a JSON object)"):
        work.of(str(tmp_path))


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no config\.json"):
        work.of(str(tmp_path))
    with pytest.raises(BadInput, match=r"one of llama-2-7b, llama-3\.2-1b"):
        work.of("gpt-9")
    with pytest.raises(BadInput, match="there is no file"):
        work.of("nowhere.gguf")
    with pytest.raises(BadInput, match="ggml has no type `q9`"):
        work.of("llama-2-7b", "q9")
    with pytest.raises(BadInput, match="ggml has no type `i32`"):
        work.of("llama-2-7b", "i32")
    with pytest.raises(BadInput, match="--type is for checkpoints"):
        work.of(str(write_gguf(tmp_path / "a.gguf")), "q8_0")


def test_a_mixture_of_experts_is_refused(tmp_path: Path) -> None:
    header = artifact.read(write_gguf(tmp_path / "a.gguf")).model_copy(update={"decode_bytes": None})
    with pytest.raises(BadInput, match="a is a mixture of experts"):
        work.of_header(header)


def test_types_have_ggmls_sizes() -> None:
    shape = quants.quant_shape_to_byte_shape((MATRICES + 256 * 100,), GGMLQuantizationType.Q4_K)
    assert work.of_config(LLAMA, "q4_k", "x").weights_bytes == shape[0]
