"""The windows drawn from the calibration texts, and the activations of a layer's folds on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedTokenizerBase

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.smoothquant.architectures import LAYER
from smoothdroid.host.model.smoothquant.folds import Fold
from smoothdroid.host.model.texts.prose import Prose, names_of

# Windows kept out of calibration, on which the smoothed model must give the logits of the original. A wrong fold
# shows in every token, so they may be short.
HELD_OUT_WINDOWS = 2
HELD_OUT_TOKENS = 64


@dataclass(frozen=True)
class Windows:
    """Token ids [windows, tokens]; no token of a text is in both."""

    calibration: Tensor
    held_out: Tensor


def draw_windows(
    texts: Sequence[Prose],
    tokenizer: PreTrainedTokenizerBase,
    *,
    n_samples: int,
    seq_len: int,
    seed: int,
    n_held_out: int,
) -> Windows:
    """Draw `n_samples` windows of `seq_len` tokens to calibrate on, and `n_held_out` more to test on.

    Each text gives equally many, as far as it reaches. Windows do not overlap. Each begins with the BOS token where the
    tokenizer puts one before a text, as llama.cpp does: on many models it is the token with the largest activations.
    Raises BadInput where the texts are too short.
    """
    bos = [tokenizer.bos_token_id]
    lead = bos if tokenizer("")["input_ids"][:1] == bos else []
    body = seq_len - len(lead)
    tokens = [tokenizer(text.content, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    places = [len(ids) // body for ids in tokens]
    wanted = n_samples + n_held_out
    if sum(places) < wanted:
        raise BadInput(
            f"{names_of(texts)}: the calibration text has {sum(map(len, tokens))} tokens, and {wanted * body} are "
            f"needed: {n_samples} windows of {seq_len} to calibrate on and {n_held_out} to test on. "
            "Give a longer text, fewer samples or shorter windows."
        )
    held_out = equal_shares(n_held_out, places)
    calibrated = equal_shares(n_samples, [place - held for place, held in zip(places, held_out, strict=True)])
    generator = torch.Generator().manual_seed(seed)
    to_calibrate: list[list[int]] = []
    to_test: list[list[int]] = []
    for ids, n_places, n_calibrated, n_held in zip(tokens, places, calibrated, held_out, strict=True):
        order = torch.randperm(n_places, generator=generator)[: n_calibrated + n_held].tolist()
        drawn = [lead + ids[place * body : (place + 1) * body] for place in order]
        to_calibrate += drawn[:n_calibrated]
        to_test += drawn[n_calibrated:]
    return Windows(calibration=torch.tensor(to_calibrate), held_out=torch.tensor(to_test))


def equal_shares(total: int, limits: Sequence[int]) -> list[int]:
    """Divide `total` into shares as equal as the limits allow, whose sum is no less; earlier ones get the remainder."""
    shares = [0] * len(limits)
    while total:
        open_ones = [number for number, limit in enumerate(limits) if shares[number] < limit][:total]
        for number in open_ones:
            shares[number] += 1
        total -= len(open_ones)
    return shares


@dataclass
class ReaderInputs:
    """The inputs of a fold's readers, recorded while a layer ran.

    `absmax` float32 [channels]: max|X_j|. `rows`: every `keep_every`-th row [channels] of it, to measure on; none
    where that is 0.
    """

    keep_every: int = 0
    absmax: Tensor | None = None
    rows: list[Tensor] = field(default_factory=list)

    def add(self, activations: Tensor) -> None:
        """Record activations [..., channels]."""
        flat = activations.detach().flatten(end_dim=-2)
        low, high = flat.aminmax(dim=0)
        seen = torch.maximum(high, -low).float().cpu()
        self.absmax = seen if self.absmax is None else torch.maximum(self.absmax, seen)
        if self.keep_every:
            self.rows.append(flat[:: self.keep_every].float().cpu())

    def ranges(self, fold: Fold) -> Tensor:
        """Return max|X_j|. Raises BadInput, with the tensor's name, where one is no finite number."""
        if self.absmax is None or not self.absmax.isfinite().all():
            raise BadInput(
                f"{fold.readers[0]}.weight: what it reads is not finite on the calibration text (NaN or Inf), so the "
                "weights of this layer or of one before it are damaged. Fetch the checkpoint again."
            )
        return self.absmax


@contextmanager
def record_inputs(
    layer: nn.Module, number: int, folds: Sequence[Fold], keep_every: int = 0
) -> Iterator[Mapping[Fold, ReaderInputs]]:
    """Record the readers' inputs of each fold of decoder layer `number` while `layer` runs, within this context."""
    seen = {fold: ReaderInputs(keep_every) for fold in folds}
    hooks = [_watch(layer, LAYER.format(layer=number), fold, seen[fold].add) for fold in folds]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _watch(layer: nn.Module, prefix: str, fold: Fold, see: Callable[[Tensor], None]) -> RemovableHandle:
    """Have `see` called with the inputs of the fold's readers, [..., channels], whenever the layer runs."""
    if fold.experts is not None and fold.expert is not None:
        return _watch_expert(layer.get_submodule(fold.experts.removeprefix(prefix)), fold.expert, see)
    if fold.kind == "norm":  # seen where it comes out: transformers may have another name for a reader, or fuse it
        norm = layer.get_submodule(fold.source.removeprefix(prefix))
        return norm.register_forward_hook(lambda _norm, _inputs, output: see(output))
    reader = layer.get_submodule(fold.readers[0].removeprefix(prefix))
    return reader.register_forward_pre_hook(lambda _reader, inputs: see(inputs[0]))


def _watch_expert(experts: nn.Module, number: int, see: Callable[[Tensor], None]) -> RemovableHandle:
    """Have `see` called for one expert's `down`, whose input is no module's: transformers computes all experts in one.

    The same arithmetic as MixtralExperts.forward in transformers 5, for the tokens that go to this expert.
    """
    fused: Any = experts

    def recompute(_experts: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        hidden, chosen = inputs[:2]  # [tokens, channels], [tokens, experts a token]
        routed = hidden[(chosen == number).any(dim=-1)]
        if len(routed):
            gate, up = nn.functional.linear(routed, fused.gate_up_proj[number]).chunk(2, dim=-1)
            see(fused.act_fn(gate) * up)
        else:
            see(hidden.new_zeros(1, fused.down_proj.shape[-1]))

    return experts.register_forward_pre_hook(recompute)
