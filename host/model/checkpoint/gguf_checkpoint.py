"""Turn a Llama GGUF with a SmolLM tokenizer into an ordinary Hugging Face checkpoint, by gguf-py alone.

transformers can do this too (`gguf_file=`), but since transformers 5 that needs accelerate,
and it gives every byte-level BPE the GPT-2 pre-tokenizer, so that digits are grouped as SmolLM never saw
them, and llama.cpp's converter rightly refuses the tokenizer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import TokenType
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from torch import Tensor

from smoothdroid.host.gguf.reader import GgufFile

# gguf-py/gguf/tensor_mapping.py, the other way round.
MODEL_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def write_checkpoint(gguf: Path, folder: Path) -> None:
    """Write config.json, model.safetensors (float32) and the tokenizer's files of `gguf` into `folder`.

    Raises ValueError where the GGUF is not a Llama with a SmolLM tokenizer.
    """
    file = GgufFile(gguf)
    fields: dict[str, Any] = {name: file.value(name) for name in file.names}
    kind = (fields["general.architecture"], fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"])
    if kind != ("llama", "gpt2", "smollm"):
        raise ValueError(f"{gguf}: made for a Llama with SmolLM's tokenizer, not for {kind}")
    tensors: dict[str, Tensor] = {}
    for stored in file.tensors:
        name = checkpoint_name(stored.name)
        tensor = torch.from_numpy(np.array(dequantize(stored.data, stored.tensor_type)))
        if name.endswith("q_proj.weight"):
            tensor = unpermute(tensor, fields["llama.attention.head_count"])
        elif name.endswith("k_proj.weight"):
            tensor = unpermute(tensor, fields["llama.attention.head_count_kv"])
        tensors[name] = tensor
    _write_json(folder / "config.json", llama_config(fields, tied="lm_head.weight" not in tensors))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors makes it 0600
    smollm_tokenizer(fields).save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", tokenizer_config(fields))


def checkpoint_name(gguf_name: str) -> str:
    """Return the checkpoint's name of a tensor: `model.layers.3.self_attn.q_proj.weight` for `blk.3.attn_q.weight`.

    Raises KeyError for an unknown name.
    """
    match gguf_name.split("."):
        case ["blk", layer, module, kind]:
            return f"model.layers.{layer}.{LAYER_NAMES[module]}.{kind}"
        case [module, kind]:
            return f"{MODEL_NAMES[module]}.{kind}"
    raise KeyError(gguf_name)


def unpermute(weight: Tensor, n_heads: int) -> Tensor:
    """Reorder the rows [heads x pair x half, in] of a q or k projection from GGUF's rotary order to transformers'.

    The inverse of LlamaModel.permute in llama.cpp's conversion/llama.py.
    """
    rows, columns = weight.shape
    return weight.reshape(n_heads, rows // n_heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns).contiguous()


def llama_config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    """Return the config.json of the Llama that the GGUF's metadata describe."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "rms_norm_eps": shortest(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": shortest(fields["llama.rope.freq_base"]),
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        "vocab_size": fields["llama.vocab_size"],
    }


def shortest(stored: float) -> float:
    """Return the shortest decimal that is the same float32: 1e-05, where the GGUF gives 9.999999747378752e-06."""
    return float(str(np.float32(stored)))


def smollm_tokenizer(fields: dict[str, Any]) -> Tokenizer:
    """Make the byte-level BPE after single digits that llama.cpp calls "smollm" (llama-vocab.cpp, PRE_TYPE_SMOLLM)."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    tokenizer = Tokenizer(
        BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]],
        )
    )
    tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, normalized=False, special=True)
            for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
            if kind == TokenType.CONTROL
        ]
    )
    return tokenizer


def tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer_config.json: the special tokens and the chat template."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": fields["tokenizer.ggml.add_space_prefix"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        **{role: tokens[fields[f"tokenizer.ggml.{key}_token_id"]] for role, key in roles.items()},
        "chat_template": fields["tokenizer.chat_template"],
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
