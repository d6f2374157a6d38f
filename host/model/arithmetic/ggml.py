"""ggml's own CPU kernels: weights and activations in blocks of 32 neighbours, each block with one f16 scale.

x86 and Arm do the same, repacked or not: what differs is the order in which they add.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothdroid.device.common.errors import BadInput

BLOCK = 32


@dataclass(frozen=True)
class Ggml:
    """ggml's kernels: implements Arithmetic."""

    name: str = "ggml"

    def weights(self, weight: Tensor, quantisation: str) -> Tensor:
        """Return the weights as the file holds them, bit for bit (quantize_row_q8_0_ref, quantize_row_q4_0_ref)."""
        return _through_blocks(weight, _WEIGHTS[checked(quantisation)])

    def activations(self, activations: Tensor, quantisation: str) -> Tensor:
        """Return the activations as Q8_0, whatever the weights are: the `vec_dot_type` of both types.

        Unlike a file's, they round half to even (quantize_row_q8_0 of ggml-cpu/arch).
        """
        checked(quantisation)
        return _through_blocks(activations, _q8_0_activations)


def checked(quantisation: str) -> str:
    """Return `quantisation` if it is a known one, else raise BadInput."""
    if quantisation not in _WEIGHTS:
        raise BadInput(f"the arithmetic of {quantisation} is not known here. There are {', '.join(_WEIGHTS)}")
    return quantisation


def round_half_away(values: Tensor) -> Tensor:
    """Round half away from zero, as C's roundf does. Adding 0.5 and cutting off would round the float below 0.5 up."""
    magnitude = values.abs()
    whole = magnitude.floor()
    return (whole + (magnitude - whole >= 0.5)).copysign(values)


def _through_blocks(values: Tensor, quantise: Callable[[Tensor], Tensor]) -> Tensor:
    if values.shape[-1] % BLOCK:
        raise BadInput(f"rows of {values.shape[-1]} values: a block holds {BLOCK}, and a row whole blocks only.")
    return quantise(values.float().reshape(-1, BLOCK)).view(values.shape)


def _q8_0_weights(blocks: Tensor) -> Tensor:
    scale = blocks.abs().amax(dim=-1, keepdim=True) / 127
    return round_half_away(blocks * _inverse(scale)) * _as_f16(scale)


def _q8_0_activations(blocks: Tensor) -> Tensor:
    scale = blocks.abs().amax(dim=-1, keepdim=True) / 127
    return torch.round(blocks * _inverse(scale)) * _as_f16(scale)


def _q4_0_weights(blocks: Tensor) -> Tensor:
    """Round blocks to Q4_0: the value of largest magnitude, the first where there are several, becomes -8."""
    largest = blocks.gather(-1, blocks.abs().argmax(dim=-1, keepdim=True))
    scale = largest / -8
    steps = (blocks * _inverse(scale) + 8.5).trunc().clamp(0, 15)
    return (steps - 8) * _as_f16(scale)


def _inverse(scale: Tensor) -> Tensor:
    """Return 1/scale, and 0 for a block of zeros."""
    return torch.where(scale == 0, 0, 1 / scale)


def _as_f16(scale: Tensor) -> Tensor:
    """Return the scale as it is stored; the steps were counted with the one that was not rounded."""
    return scale.half().float()


_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {"q8_0": _q8_0_weights, "q4_0": _q4_0_weights}
