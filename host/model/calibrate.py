"""The windows drawn from the calibration text, and the activation ranges seen on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from device.errors import BadInput, SmoothdroidError
from host.model.folds import Fold
from host.model.prose import Prose

# Windows kept out of calibration, on which the smoothed model must give the logits of the original.
HELD_OUT_WINDOWS = 2


@dataclass(frozen=True)
class Windows:
    """Token ids [windows, tokens]; no token of the text is in both."""

    calibration: Tensor
    held_out: Tensor


def draw_windows(
    text: Prose, tokenizer: PreTrainedTokenizerBase, *, n_samples: int, seq_len: int, seed: int
) -> Windows:
    """Draw `n_samples` windows of `seq_len` tokens to calibrate on, and HELD_OUT_WINDOWS more to judge by.

    Windows do not overlap. Each begins with the BOS token where the tokenizer puts one before a text,
    as llama.cpp does: on many models it is the token with the largest activations.
    Raises BadInput where the text is too short.
    """
    bos = [tokenizer.bos_token_id]
    lead = bos if tokenizer("")["input_ids"][:1] == bos else []
    tokens = tokenizer(text.content, add_special_tokens=False, verbose=False)["input_ids"]
    body = seq_len - len(lead)
    wanted = n_samples + HELD_OUT_WINDOWS
    available = len(tokens) // body
    if available < wanted:
        raise BadInput(
            f"{text.name}: the calibration text has {len(tokens)} tokens, and {wanted * body} are needed: "
            f"{n_samples} windows of {seq_len} to calibrate on and {HELD_OUT_WINDOWS} to judge by. "
            "Give a longer text, fewer samples or shorter windows."
        )
    order = torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:wanted].tolist()
    drawn = torch.tensor([lead + tokens[place * body : (place + 1) * body] for place in order])
    return Windows(calibration=drawn[:n_samples], held_out=drawn[n_samples:])


@torch.inference_mode()
def activation_absmax(
    model: nn.Module,
    windows: Tensor,
    folds: Sequence[Fold],
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Tensor]:
    """max|X_j| per channel of what each fold's linears read: norm's name -> float32 [channels].

    `windows`: token ids [windows, tokens]. Raises SmoothdroidError where an activation is not finite.
    """
    absmax: dict[str, Tensor] = {}

    def watch(norm: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen = inputs[0].abs().flatten(end_dim=-2).amax(dim=0).float()
        absmax[norm] = torch.maximum(absmax[norm], seen) if norm in absmax else seen

    # One linear stands for all of a fold: they read the same tensor.
    hooks = [
        model.get_submodule(fold.linears[0]).register_forward_pre_hook(partial(watch, fold.norm)) for fold in folds
    ]
    try:
        for done, window in enumerate(windows, start=1):
            model(input_ids=window[None], use_cache=False, logits_to_keep=1)  # the head is not calibrated
            if on_progress:
                on_progress("calibrate", done, len(windows))
    finally:
        for hook in hooks:
            hook.remove()
    for norm, ranges in absmax.items():
        if not ranges.isfinite().all():
            raise SmoothdroidError(
                f"{norm}: its output is not finite on the calibration text; the weights are damaged."
            )
    return absmax
