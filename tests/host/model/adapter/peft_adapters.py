"""PEFT LoRA adapters written as PEFT writes them, and what they make of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

CONFIG: dict[str, Any] = {
    **{"auto_mapping": None, "base_model_name_or_path": "tiny", "bias": "none", "fan_in_fan_out": False},
    **{"inference_mode": True, "init_lora_weights": True, "lora_alpha": 8, "lora_dropout": 0.05, "r": 4},
    **{"modules_to_save": None, "peft_type": "LORA", "rank_pattern": {}, "alpha_pattern": {}, "task_type": "CAUSAL_LM"},
    **{"target_modules": ["q_proj"], "use_dora": False, "use_rslora": False},
}
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj")


def write_adapter(
    folder: Path,
    model: Path,
    *,
    linears: tuple[str, ...] = LINEARS,
    ranks: dict[str, int] | None = None,
    size: float = 0.05,
    **settings: Any,
) -> Path:
    """Make `folder` a random adapter of the checkpoint `model`, on the linears of these names.

    `ranks`: of modules whose rank is not `r`.
    """
    config = {**CONFIG, "target_modules": list(linears), **settings}
    generator = torch.Generator().manual_seed(7)
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(model / "model.safetensors", framework="pt") as stored:
        for name in sorted(stored.keys()):
            module = name.removesuffix(".weight")
            if module.rpartition(".")[2] not in linears or module == name:
                continue
            n_out, n_in = stored.get_slice(name).get_shape()
            rank = (ranks or {}).get(module, config["r"])
            tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(rank, n_in, generator=generator) * size
            tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(n_out, rank, generator=generator) * size
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def merged(model: Path, adapter: Path, folder: Path, scale: float) -> Path:
    """Make `folder` the checkpoint with `scale` B A added to its weights, by PEFT's formula."""
    import shutil

    shutil.copytree(model, folder)
    weights = load_file(model / "model.safetensors")
    added = load_file(adapter / "adapter_model.safetensors")
    for name in added:
        if name.endswith("lora_A.weight"):
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            product = added[name.replace("lora_A", "lora_B")] @ added[name]
            weights[f"{module}.weight"] += scale * product
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
