"""The usual SmoothQuant script: load the whole model, hook, fold, save. `benchmarks.prepare` compares with it.

    python benchmarks/chain.py CHECKPOINT OUTPUT N_SAMPLES SEQ_LEN

The weights keep the type that they are stored in, as transformers loads them by default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from smoothdroid.host.model.calibration.windows import draw_windows
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.texts.calibration import calibration_texts

ALPHA = 0.5


@torch.inference_mode()
def main(checkpoint: Path, output: Path, n_samples: int, seq_len: int) -> None:
    """Run the usual script on a checkpoint."""
    library: Any = transformers
    tokenizer = library.AutoTokenizer.from_pretrained(checkpoint)
    model = library.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    windows = draw_windows(
        calibration_texts((), open_checkpoint(checkpoint)),
        tokenizer,
        n_samples=n_samples,
        seq_len=seq_len,
        seed=0,
        n_held_out=2,
    )
    absmax: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].abs().flatten(end_dim=-2).amax(dim=0).float()
            absmax[name] = torch.maximum(absmax[name], seen) if name in absmax else seen

        return hook

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    for window in windows.calibration:
        model(input_ids=window[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    for number, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        for norm, linears, seen in (
            (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj), "self_attn.q_proj"),
            (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj), "mlp.gate_proj"),
        ):
            weights = torch.stack([linear.weight.abs().amax(dim=0).float() for linear in linears]).amax(dim=0)
            activations = absmax[f"model.layers.{number}.{seen}"]
            scales = (activations.clamp(min=1e-5) ** ALPHA / weights.clamp(min=1e-5) ** (1 - ALPHA)).to(
                norm.weight.dtype
            )
            norm.weight.div_(scales)
            for linear in linears:
                linear.weight.mul_(scales)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
