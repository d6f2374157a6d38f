"""A tiny random Llama as a GGUF that llama.cpp runs, made in no time: for tests of what happens to finished models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

LAYERS, HIDDEN, HEADS, KV_HEADS, FFN, CONTEXT = 2, 64, 4, 2, 96, 256
LETTERS = "▁abcdefghijklmnopqrstuvwxyz.,"

F32, Q8_0 = GGMLQuantizationType.F32, GGMLQuantizationType.Q8_0
F16, BF16, Q4_0 = GGMLQuantizationType.F16, GGMLQuantizationType.BF16, GGMLQuantizationType.Q4_0
VOCABULARY = 259 + len(LETTERS)


def write_llama(
    path: Path,
    kind: GGMLQuantizationType = F32,
    *,
    letters: str = LETTERS,
    broken: bool = False,
    architecture: str = "llama",
    tied: bool = False,
    rope_factors: bool = False,
    settings: dict[str, float] | None = None,
    texts: dict[str, str] | None = None,
) -> Path:
    """Write the model to `path`, its matrices as `kind`; the same weights every time.

    Its norms are far from 1 and have one loud channel, as trained models have. `broken`: one weight is NaN.
    `architecture`: qwen2 has biases too, and qwen3 norms over heads. `tied`: the embedding is the head, and of `kind`.
    `rope_factors`: as Llama 3 has them. `settings`: further ones, without the architecture's name.
    `texts`: metadata by their whole names.
    """
    writer = GGUFWriter(path, architecture)
    for name, value in (settings or {}).items():
        writer.add_float32(f"{architecture}.{name}", value)
    for name, text in (texts or {}).items():
        writer.add_string(name, text)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    kinds = [TokenType.UNKNOWN, *[TokenType.CONTROL] * 2, *[TokenType.BYTE] * 256, *[TokenType.NORMAL] * len(letters)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    random = np.random.default_rng(1)

    def add_norm(name: str, size: int = HIDDEN, loud: float = 25) -> None:
        weights = random.uniform(0.2, 3, size).astype(np.float32)
        weights[5] = loud
        writer.add_tensor(f"{name}.weight", weights)

    def add_matrix(name: str, rows: int, columns: int) -> None:
        weights = random.normal(0, 0.06, (rows, columns)).astype(np.float32)
        writer.add_tensor(f"{name}.weight", weights if kind == F32 else quantize(weights, kind), raw_dtype=kind)

    if tied:
        add_matrix("token_embd", len(tokens), HIDDEN)
    else:
        writer.add_tensor("token_embd.weight", random.normal(0, 1, (len(tokens), HIDDEN)).astype(np.float32))
    if rope_factors:
        writer.add_tensor("rope_freqs.weight", np.linspace(1, 8, HIDDEN // HEADS // 2, dtype=np.float32))
    head_size = HIDDEN // HEADS
    for layer in range(LAYERS):
        add_norm(f"blk.{layer}.attn_norm")
        add_matrix(f"blk.{layer}.attn_q", HIDDEN, HIDDEN)
        add_matrix(f"blk.{layer}.attn_k", KV_HEADS * head_size, HIDDEN)
        add_matrix(f"blk.{layer}.attn_v", KV_HEADS * head_size, HIDDEN)
        add_matrix(f"blk.{layer}.attn_output", HIDDEN, HIDDEN)
        if architecture == "qwen2":
            for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
                bias = random.normal(0, 0.5, heads * head_size).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.attn_{name}.bias", bias)
        if architecture == "qwen3":
            add_norm(f"blk.{layer}.attn_q_norm", head_size, loud=2)
            add_norm(f"blk.{layer}.attn_k_norm", head_size, loud=2)
        add_norm(f"blk.{layer}.ffn_norm")
        add_matrix(f"blk.{layer}.ffn_gate", FFN, HIDDEN)
        add_matrix(f"blk.{layer}.ffn_up", FFN, HIDDEN)
        add_matrix(f"blk.{layer}.ffn_down", HIDDEN, FFN)
    last = random.uniform(0.2, 3, HIDDEN).astype(np.float32)
    last[0] = np.nan if broken else last[0]
    writer.add_tensor("output_norm.weight", last)
    if not tied:
        add_matrix("output", len(tokens), HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
