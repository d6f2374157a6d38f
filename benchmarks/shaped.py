"""Checkpoints with the shape of a real model and random weights: the cost of `prepare` does not depend on values."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from smoothdroid.host.model.checkpoint.sample import make_sample

SEED = 0
DEVIATION = 0.02  # of weights, as Llama is initialised
LOUD = 20.0  # every 97th channel of a norm: what SmoothQuant is for


@dataclass(frozen=True)
class Shape:
    """The dimensions of a Llama. The vocabulary is the sample model's, because its tokenizer is available."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int


SHAPES = {
    "1.1b": Shape(2048, 5632, 22, 32, 4),  # TinyLlama-1.1B
    "7b": Shape(4096, 11008, 32, 32, 32),  # Llama-2-7B
}


def make_shaped(folder: Path, shape: Shape) -> Path:
    """Write a bf16 checkpoint of that shape to `folder`, one shard per layer, unless it exists; return the folder."""
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_sample(partial)
    config = json.loads((partial / "config.json").read_text(encoding="utf-8"))
    config |= {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (partial / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (partial / "model.safetensors").unlink()
    (partial / "smoothdroid-sample.json").unlink()
    generator = torch.Generator().manual_seed(SEED)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.empty(rows, columns, dtype=torch.bfloat16).normal_(0, DEVIATION, generator=generator)

    def norm() -> Tensor:
        weight = torch.ones(shape.hidden, dtype=torch.bfloat16)
        weight[::97] = LOUD
        return weight

    kv = shape.hidden // shape.heads * shape.kv_heads
    index: dict[str, str] = {}
    ends = {
        "model.embed_tokens.weight": matrix(config["vocab_size"], shape.hidden),
        "model.norm.weight": norm(),
        "lm_head.weight": matrix(config["vocab_size"], shape.hidden),
    }
    for number in range(shape.layers + 1):
        prefix = f"model.layers.{number}."
        tensors = (
            ends
            if number == shape.layers
            else {
                f"{prefix}input_layernorm.weight": norm(),
                f"{prefix}self_attn.q_proj.weight": matrix(shape.hidden, shape.hidden),
                f"{prefix}self_attn.k_proj.weight": matrix(kv, shape.hidden),
                f"{prefix}self_attn.v_proj.weight": matrix(kv, shape.hidden),
                f"{prefix}self_attn.o_proj.weight": matrix(shape.hidden, shape.hidden),
                f"{prefix}post_attention_layernorm.weight": norm(),
                f"{prefix}mlp.gate_proj.weight": matrix(shape.intermediate, shape.hidden),
                f"{prefix}mlp.up_proj.weight": matrix(shape.intermediate, shape.hidden),
                f"{prefix}mlp.down_proj.weight": matrix(shape.hidden, shape.intermediate),
            }
        )
        file = f"model-{number + 1:05d}-of-{shape.layers + 1:05d}.safetensors"
        save_file(tensors, partial / file, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file)
    content = {"metadata": {}, "weight_map": index}
    (partial / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")
    partial.rename(folder)
    return folder
