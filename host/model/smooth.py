"""SmoothQuant's arithmetic: pure functions on tensors.

Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
ICML 2023, https://arxiv.org/abs/2211.10438. A linear computes Y = X W^T. Moving a scale s_j per input channel
out of the activations and into the weights, (X diag(s)^-1) (W diag(s))^T, leaves Y as it was and lets the
two sides share what is hard to quantise. X comes out of a norm, so diag(s)^-1 goes into the norm's weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# A channel whose activations or weights never exceed this carries nothing: there is nothing to balance, and
# the formula would divide by zero or blow up a channel that calibration happened not to excite. Its scale
# is 1. The value is the floor in the paper's own code (smoothquant/smooth.py).
MINIMUM_MAGNITUDE = 1e-5


def column_absmax(weights: Sequence[Tensor]) -> Tensor:
    """max|W_j| per input channel over all the linears that read it.

    `weights`: tensors [out, channels], of any number of rows. Returns float32 [channels].
    """
    return torch.stack([weight.float().abs().amax(dim=0) for weight in weights]).amax(dim=0)


def smoothing_scales(activation_absmax: Tensor, weight_absmax: Tensor, alpha: float) -> Tensor:
    """s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), equation 4 of the paper.

    Both inputs and the result are [channels], the result float32 and positive. `alpha` in [0, 1] is the
    strength: how much of the difficulty moves from the activations to the weights.
    """
    activations, weights = activation_absmax.float(), weight_absmax.float()
    scales = activations.pow(alpha) / weights.pow(1 - alpha)
    live = (activations > MINIMUM_MAGNITUDE) & (weights > MINIMUM_MAGNITUDE)
    return torch.where(live, scales, torch.ones_like(scales))


def fold_into_norm(weight: Tensor, scales: Tensor) -> Tensor:
    """The norm's weight [channels] with the scales taken out. Float32: rounding again would lose the gain."""
    return weight.float() / scales


def fold_into_linear(weight: Tensor, scales: Tensor) -> Tensor:
    """The linear's weight [out, channels] with the scales put into its columns, float32. A bias stays."""
    return weight.float() * scales
