"""The calibration text, the windows drawn from it, and the activation ranges seen on them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from device.errors import BadInput, SmoothdroidError
from host.model.folds import Fold

# Windows kept out of calibration, on which the smoothed model must give the logits of the original.
HELD_OUT_WINDOWS = 2


@dataclass(frozen=True)
class Text:
    """A text to calibrate on; `name` is for people, `sha256` (of its UTF-8) says which text it was."""

    name: str
    content: str

    @property
    def sha256(self) -> str:
        return sha256(self.content.encode()).hexdigest()


def read_text(file: Path | None) -> Text:
    """The user's text, or the English prose about Python that every CPython carries (some 470 KB).

    Raises BadInput where the file cannot be read or is not UTF-8.
    """
    if file is None:
        from pydoc_data.topics import topics  # large, and only this road needs it

        name = f"pydoc_data.topics of Python {sys.version_info.major}.{sys.version_info.minor}"
        return Text(name, "\n\n".join(topics[topic] for topic in sorted(topics)))
    try:
        return Text(file.name, file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file}: the calibration text cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{file}: the calibration text is not UTF-8 (byte {error.start}). Convert it to UTF-8."
        ) from error


@dataclass(frozen=True)
class Windows:
    """Token ids [windows, tokens]; no token of the text is in both."""

    calibration: Tensor
    held_out: Tensor


def draw_windows(text: Text, tokenizer: PreTrainedTokenizerBase, *, n_samples: int, seq_len: int, seed: int) -> Windows:
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
