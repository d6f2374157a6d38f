"""Tiny random checkpoints of every architecture in the table of folds, made to bring a wrong fold to light."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES

PROSE = "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. "

LOUD_CHANNEL = 5  # of every norm, every `up` and every `v`: the outlier that SmoothQuant is for

VOCABULARY = 320

COMMON = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.05,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# With every bias that the architecture can have, and heads wider than hidden_size / heads where it allows that.
CONFIGS: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {"attention_bias": True, "mlp_bias": True},
    "MistralForCausalLM": {"head_dim": 24},
    "GraniteForCausalLM": {
        "attention_bias": True,
        "mlp_bias": True,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.3,
        "logits_scaling": 2.0,
    },
    "Ministral3ForCausalLM": {
        "head_dim": 24,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
    },
    "SeedOssForCausalLM": {"head_dim": 24, "attention_bias": True, "attention_out_bias": False},
    "GlmForCausalLM": {"head_dim": 16, "attention_bias": True},
    "Qwen2ForCausalLM": {},  # q, k and v always have one
    "Qwen3ForCausalLM": {"head_dim": 24, "attention_bias": True},
    "Qwen3MoeForCausalLM": {
        "head_dim": 24,
        "moe_intermediate_size": 48,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
    },
    "OlmoeForCausalLM": {"num_key_value_heads": 4, "num_experts": 4, "num_experts_per_tok": 2},
    "Olmo2ForCausalLM": {},
    "Olmo3ForCausalLM": {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    "Exaone4ForCausalLM": {"sliding_window": None, "layer_types": ["full_attention", "full_attention"]},
    "Glm4ForCausalLM": {"head_dim": 16, "attention_bias": True},
    "CohereForCausalLM": {"logit_scale": 0.5},
    "Cohere2ForCausalLM": {"head_dim": 16, "logit_scale": 0.5, "rotary_pct": 1.0, "sliding_window": 16},
    "PhiForCausalLM": {"num_key_value_heads": 4, "intermediate_size": 256, "partial_rotary_factor": 0.5},
    "GemmaForCausalLM": {"head_dim": 24, "attention_bias": True},
    "Gemma2ForCausalLM": {"head_dim": 24, "attention_bias": True, "query_pre_attn_scalar": 24},
    "Gemma3ForCausalLM": {"head_dim": 24, "attention_bias": True, "query_pre_attn_scalar": 24},
    "Phi3ForCausalLM": {},
    "MixtralForCausalLM": {"num_local_experts": 4, "num_experts_per_tok": 2},
}


def tiny_tokenizer() -> Tokenizer:
    """Llama 2's kind of tokenizer (BPE with byte fallback, BOS first), with a vocabulary of some 300 tokens."""
    specials = ["<unk>", "<s>", "</s>"]
    model = BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(
        [PROSE], BpeTrainer(vocab_size=VOCABULARY, special_tokens=[*specials, *bytes_], show_progress=False)
    )
    # The trainer marks the bytes as special, which would hide them from byte fallback's decoder.
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in specials]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def write_tiny_model(
    folder: Path,
    architecture: str,
    *,
    tied: bool = False,
    dtype: torch.dtype = torch.float32,
    config: dict[str, Any] | None = None,
    **save_options: Any,
) -> Path:
    """Make the folder `folder` a checkpoint of 2 layers: norms from 0.2 to 5, random biases, loud channels.

    `config`: what is to be otherwise in its config.json.
    """
    tokenizer = tiny_tokenizer()
    torch.manual_seed(1)
    library: Any = transformers
    model_class = getattr(library, architecture)
    settings = {**COMMON, **CONFIGS.get(architecture, {}), **(config or {})}
    model = model_class(
        model_class.config_class(**settings, vocab_size=tokenizer.get_vocab_size(), tie_word_embeddings=tied)
    )
    offset = ARCHITECTURES[architecture].norm_offset if architecture in ARCHITECTURES else 0.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.2, 5.0)
                if "q_norm" not in name and "k_norm" not in name:
                    parameter[LOUD_CHANNEL] = 40.0
                parameter -= offset
            elif name.endswith("bias"):
                parameter.normal_()
            # The last rows of a fused linear are v and up.
            if name.endswith(("v_proj.weight", "up_proj.weight", "v_proj.bias", "up_proj.bias")):
                parameter[-32 + LOUD_CHANNEL] *= 30
            elif name.endswith("experts.gate_up_proj"):
                parameter[:, -32 + LOUD_CHANNEL] *= 30
    folder.mkdir()
    model.to(dtype).save_pretrained(folder, **save_options)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))
    return folder
