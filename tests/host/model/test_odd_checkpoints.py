"""Checkpoints as people bring them: what of them becomes a GGUF that llama.cpp loads, and what is refused and how."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, TokenType

from smoothdroid.host.model.convert.loading import require_loads
from tests.host.model.odd_checkpoints import (
    EMBEDDING,
    HEAD,
    TensorChange,
    added_token,
    bare,
    byte_level,
    changed,
    config,
    edited,
    marked,
    prefixed,
    rows,
    sentencepiece,
    sharded,
    tensors,
    token_removed,
    vocab_and_merges,
    without,
)
from tests.host.model.tiny_models import write_tiny_model

ATTENTION = "model.layers.0.self_attn"
OLD_ROPE = {"rope_parameters": ..., "rope_theta": 10000.0}
FREQUENCIES = 1.0 / (10000 ** (torch.arange(0, 16, 2).float() / 16))


def zero(stored: dict[str, torch.Tensor]) -> None:
    """Unused rows and dead channels, as pruned and padded models have them."""
    stored[EMBEDDING][300:] = 0
    stored[HEAD][300:] = 0
    for name in ("q_proj", "k_proj", "v_proj"):
        stored[f"{ATTENTION}.{name}.weight"][:, 7] = 0
    stored["model.layers.1.mlp.up_proj.weight"][9] = 0
    stored["model.layers.1.mlp.down_proj.weight"][:, 9] = 0
    stored["model.layers.0.input_layernorm.weight"][3] = 0


def in_two_types(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each.bfloat16() if number % 2 else each.half() for number, (name, each) in enumerate(stored.items())}


def token_in_old_file(folder: Path) -> None:
    (folder / "added_tokens.json").write_text('{"[PAD]": 320}', encoding="utf-8")


def scaling(kind: str, **values: Any) -> TensorChange:
    return config(**OLD_ROPE, rope_scaling={"rope_type": kind, "factor": 4.0, **values})


# The checkpoints whose GGUF has the tensors of the unchanged one.
EQUAL: Mapping[str, tuple[TensorChange, ...]] = {
    "quantization-config-null": (config(quantization_config=None),),
    "quantization-config-empty": (config(quantization_config={}),),
    "byte-order-marks": (marked("config.json", "tokenizer.json", "tokenizer_config.json"),),  # playwright #39420
    "extra-special-list": (edited("tokenizer_config.json", extra_special_tokens=["<s>", "</s>"]),),  # mlx-lm #661
    "tokenizers-backend": (
        edited("tokenizer_config.json", tokenizer_class="TokenizersBackend"),
    ),  # transformers #44781
    "old-buffers": (tensors(lambda stored: {**stored, f"{ATTENTION}.rotary_emb.inv_freq": FREQUENCIES}),),  # #7046
    "shards": (sharded(), without("model.safetensors")),
    "shards-and-single": (sharded(),),  # llama.cpp #5678
    "shards-other-names": (sharded("part0.safetensors", "part1.safetensors"), without("model.safetensors")),  # #17286
    "marked-index": (sharded(), without("model.safetensors"), marked("model.safetensors.index.json")),
    "float64": (tensors(lambda stored: {name: each.double() for name, each in stored.items()}),),
}
# Those that load, with something of their own.
LOADED: Mapping[str, tuple[TensorChange, ...]] = {
    "padded-rows": (rows(384),),  # llama.cpp #8445
    "added-token-fits": (added_token(320), rows(321)),
    "added-token-and-padding": (added_token(320), rows(384)),
    "added-token-after-a-gap": (added_token(350), rows(384)),
    "hole": (token_removed(300),),
    "hole-and-added-token": (token_removed(300), added_token(320), rows(384)),
    "pad-named-only": (edited("tokenizer_config.json", pad_token="[PAD]"), rows(384)),
    "sentencepiece": (sentencepiece,),
    "sentencepiece-beyond": (
        sentencepiece,
        token_in_old_file,
    ),
    "zeros": (tensors(zero),),  # sparseml #1872
    "two-types": (tensors(in_two_types),),
    "rope-llama3": (
        scaling("llama3", low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
    ),  # llama.cpp #18013
    "rope-linear": (config(**OLD_ROPE, rope_scaling={"type": "linear", "factor": 4.0}),),
    "rope-dynamic": (scaling("dynamic"),),
    "rope-yarn": (scaling("yarn", original_max_position_embeddings=64),),
    "rope-none": (config(rope_parameters=..., rope_scaling=...),),
    "head-repeats": (tensors(lambda stored: {**stored, HEAD: stored[EMBEDDING]}),),  # vllm #6758
    "tied-head-repeats": (
        config(tie_word_embeddings=True),
        tensors(lambda stored: {**stored, HEAD: stored[EMBEDDING]}),
    ),
    "tied-other-head": (config(tie_word_embeddings=True),),
}
FIX = "transformers: from_pretrained, then save_pretrained"
BEYOND = "the tokenizer has 321 tokens, the model 320 rows: [PAD] (320) has no row"
# Those that are refused, with words of the message.
REFUSED: Mapping[str, tuple[tuple[TensorChange, ...], tuple[str, ...]]] = {
    "token-beyond": ((added_token(320),), (BEYOND, "resize_token_embeddings(321)")),  # llama.cpp #5910, #3442
    "tokens-beyond": (
        (added_token(320), added_token(321, "<x>")),
        ("322 tokens, the model 320 rows: [PAD] (320) and 1 more have no row",),
    ),
    "token-beyond-the-padding": ((added_token(400), rows(384)), ("[PAD] (400) has no row",)),
    "token-beyond-in-old-file": (
        (token_in_old_file,),
        (BEYOND,),
    ),
    "token-beyond-by-name": ((edited("tokenizer_config.json", pad_token="[PAD]"),), (BEYOND,)),
    "rows-of-another-config": ((rows(384), config(vocab_size=320)), ("has the shape [384, 64]", "[320, 64]")),
    "unknown-pre-tokenizer": (
        (byte_level, rows(300)),  # llama.cpp #8649, #9927
        ("BPE pre-tokenizer is not known", "get_vocab_base_pre", "tokenizer.json", "--llama-cpp"),
    ),
    "vocab-and-merges": ((vocab_and_merges, rows(320)), ("BPE pre-tokenizer is not known",)),  # llama.cpp #1764
    "vocab-and-merges-beyond": ((vocab_and_merges, rows(290)), ("tokens, the model 290 rows:", "has no row")),
    "left-scales": (
        (tensors(lambda stored: {**stored, f"{ATTENTION}.k_scale": torch.ones(1)}),),
        (f"no place for its tensor {ATTENTION}.k_scale.", "quantises", FIX),
    ),
    "scalar-scales": (
        (
            tensors(
                lambda stored: {
                    **stored,
                    **{f"{ATTENTION}.{part}_proj.{part}_scale": torch.tensor(1.0) for part in "kv"},
                }
            ),
        ),
        ("no place for 2 of its tensors", "k_proj.k_scale", FIX),
    ),
    "layer-too-many": (
        (tensors(lambda stored: {**stored, "model.layers.2.input_layernorm.weight": torch.ones(64)}),),
        ("no place for its tensor model.layers.2.input_layernorm.weight", "config.json is not this checkpoint's"),
    ),
    "compiled": ((prefixed("_orig_mod."),), ("begin with '_orig_mod.'", "save model._orig_mod")),  # llama.cpp #9211
    "distributed": ((prefixed("module."),), ("begin with 'module.'", "save model.module")),
    "adapter-inside": ((prefixed("base_model.model."),), ("begin with 'base_model.model.'", "merge_and_unload")),
    "compiled-and-distributed": ((prefixed("module._orig_mod."),), ("'_orig_mod.' is", "'module.' is")),
    "part-of-another": ((prefixed("language_model."),), ("begin with 'language_model.'", "save that part alone")),
    "bare-names": ((bare, config(tie_word_embeddings=True)), ("bare names", "AutoModelForCausalLM")),
    "untied-without-head": (
        (tensors(lambda stored: {name: each for name, each in stored.items() if name != HEAD}),),
        ("lm_head.weight is not in its weight files", '"tie_word_embeddings": true'),
    ),
    "gptq": (
        (tensors(lambda stored: {**stored, f"{ATTENTION}.q_proj.qweight": torch.zeros(8, 64, dtype=torch.int32)}),),
        ("q_proj.qweight is stored as I32", "not quantised"),
    ),  # llama.cpp #7505
    "fp8": (
        (
            tensors(
                lambda stored: {**stored, f"{ATTENTION}.q_proj.weight": torch.zeros(64, 64).to(torch.float8_e4m3fn)}
            ),
        ),
        ("q_proj.weight is stored as F8_E4M3",),
    ),  # llama.cpp #12644
    "int8": (
        (tensors(lambda stored: {**stored, f"{ATTENTION}.q_proj.weight": torch.zeros(64, 64, dtype=torch.int8)}),),
        ("q_proj.weight is stored as I8",),
    ),
    "shards-without-index": (
        (sharded(), without("model.safetensors", "model.safetensors.index.json")),
        ("no weights", "model.safetensors.index.json"),
    ),
}


@dataclass(frozen=True)
class Converted:
    """All the checkpoints above, after the converter."""

    folder: Path
    results: Mapping[str, Mapping[str, Any]]

    def gguf(self, name: str) -> GGUFReader:
        assert self.results[name]["error"] is None, self.results[name]["error"]
        return GGUFReader(self.path(name))

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.gguf"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, llama_cpp: Path) -> Converted:
    folder = tmp_path_factory.mktemp("odd")
    base = write_tiny_model(folder / "base", "LlamaForCausalLM")
    cases = {**EQUAL, **LOADED, **{name: changes for name, (changes, _) in REFUSED.items()}}
    models = [base, *(changed(folder / name, base, *changes) for name, changes in cases.items())]
    argv = [
        sys.executable,
        "-m",
        "tests.host.model.convert_many",
        str(llama_cpp),
        str(folder / "out"),
        *map(str, models),
    ]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    results = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    return Converted(folder / "out", results)


def held(gguf: GGUFReader) -> dict[str, np.ndarray]:
    return {tensor.name: np.array(tensor.data) for tensor in gguf.tensors}


@pytest.mark.parametrize("name", EQUAL)
def test_what_means_the_same_gives_the_same_tensors(converted: Converted, name: str) -> None:
    ours, base = held(converted.gguf(name)), held(converted.gguf("base"))
    assert ours.keys() == base.keys()
    assert all(np.array_equal(ours[tensor], base[tensor]) for tensor in base)
    assert converted.results[name]["notes"] == []


@pytest.mark.parametrize("name", ["base", *EQUAL, *LOADED])
def test_llama_cpp_loads_what_is_made(converted: Converted, tmp_path: Path, llama_bench: Path, name: str) -> None:
    converted.gguf(name)
    require_loads(converted.path(name), tmp_path / "log", llama_bench)
    assert not (tmp_path / "log").exists()


@pytest.mark.fault(
    "a checkpoint that llama.cpp cannot hold, or that is none",
    transport="workstation",
    outcome="refused within seconds, before calibration: what is wrong with it, and what to do",
)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_become_a_gguf_is_explained(converted: Converted, name: str) -> None:
    error = converted.results[name]["error"]
    assert error is not None
    for words in REFUSED[name][1]:
        assert words in error
    assert "Traceback" not in error
    assert not converted.path(name).exists()


@pytest.mark.fault(
    "a model with more rows than tokens, or a tokenizer with holes in its ids",
    transport="workstation",
    outcome="every token keeps its id; ids without one get an unused token, as llama.cpp's converter gives to others",
)
@pytest.mark.parametrize(
    ("name", "count", "named", "unused"),
    [
        ("base", 320, {}, []),
        ("padded-rows", 384, {}, [*range(320, 384)]),
        ("added-token-fits", 321, {320: "[PAD]"}, []),
        ("added-token-and-padding", 384, {320: "[PAD]"}, [*range(321, 384)]),
        ("added-token-after-a-gap", 384, {350: "[PAD]"}, [*range(320, 350), *range(351, 384)]),
        ("hole", 320, {}, [300]),
        ("hole-and-added-token", 384, {320: "[PAD]"}, [300, *range(321, 384)]),
        ("pad-named-only", 384, {320: "[PAD]"}, [*range(321, 384)]),
        ("sentencepiece", 320, {}, [*range(310, 320)]),
        ("sentencepiece-beyond", 320, {}, [*range(310, 320)]),
    ],
)
def test_each_token_stands_at_its_id(
    converted: Converted, name: str, count: int, named: dict[int, str], unused: list[int]
) -> None:
    fields = converted.gguf(name).fields
    tokens, types, scores = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "scores"))
    assert len(tokens) == len(types) == len(scores) == count
    assert [number for number, kind in enumerate(types) if kind == TokenType.UNUSED] == unused
    assert all(tokens[number] == f"[PAD{number}]" for number in unused)
    assert {number: tokens[number] for number in named} == named
    assert all(types[number] in (TokenType.CONTROL, TokenType.USER_DEFINED) for number in named)
    if "sentencepiece" not in name:
        base = converted.gguf("base").fields["tokenizer.ggml.tokens"].contents()
        kept = [number for number in range(320) if number not in unused]
        assert [tokens[number] for number in kept] == [base[number] for number in kept]


def test_a_token_that_the_converter_leaves_out_is_noted(converted: Converted) -> None:
    """Gemma 3 1B is such a model: <image_soft_token> has the id 262144, and there are 262144 rows."""
    assert converted.results["sentencepiece"]["notes"] == []
    (note,) = converted.results["sentencepiece-beyond"]["notes"]
    assert note == "sentencepiece-beyond: [PAD] (320) has no row among the model's 320; left out of the GGUF"


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("rope-linear", "scaling.type", "linear"),
        ("rope-linear", "scaling.factor", 4.0),
        ("rope-yarn", "scaling.type", "yarn"),
        ("rope-yarn", "scaling.original_context_length", 64),
        ("rope-llama3", "freq_base", 10000.0),
        ("rope-none", "dimension_count", 16),
    ],
)
def test_rope_scaling_stands_in_the_gguf(converted: Converted, name: str, key: str, value: object) -> None:
    assert converted.gguf(name).fields[f"llama.rope.{key}"].contents() == value


def test_the_frequencies_of_llama_3_stand_in_the_gguf(converted: Converted) -> None:
    assert held(converted.gguf("rope-llama3"))["rope_freqs.weight"].max() == 4.0
    assert "rope_freqs.weight" not in held(converted.gguf("rope-none"))


def test_no_number_is_lost_to_zeros(converted: Converted) -> None:
    tensors = held(converted.gguf("zeros"))
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert not tensors["output.weight"][300:].any()


@pytest.mark.parametrize(
    ("name", "noted"), [("head-repeats", True), ("tied-head-repeats", True), ("tied-other-head", False)]
)
def test_a_head_that_repeats_the_embedding_is_noted(converted: Converted, name: str, noted: bool) -> None:
    assert "output.weight" in held(converted.gguf(name)), "as llama.cpp's converter writes it"
    notes = " ".join(converted.results[name]["notes"])
    assert ("lm_head.weight repeats the embedding" in notes) is noted
    assert ("the file is 20% smaller" in notes) is noted
