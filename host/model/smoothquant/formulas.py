"""SmoothQuant's arithmetic: pure functions on tensors.

Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
ICML 2023, https://arxiv.org/abs/2211.10438. A linear computes Y = X W^T. Moving a scale s_j per input channel
out of the activations and into the weights, (X diag(s)^-1) (W diag(s))^T, leaves Y as it was and lets the
two sides share what is hard to quantise. Where X comes out of a norm, diag(s)^-1 goes into the norm's weight;
where it comes, channel by channel and linearly, out of another linear, it goes into that one's rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# A channel whose activations or weights never exceed this carries nothing: there is nothing to balance, and
# the formula would divide by zero or blow up a channel that calibration happened not to excite. Its scale
# is 1. The value is the floor in the paper's own code (smoothquant/smooth.py).
MINIMUM_MAGNITUDE = 1e-5


def column_absmax(weights: Iterable[Tensor]) -> Tensor:
    """Return max|W_j| per input channel over all the linears that read it.

    `weights`: tensors [out, channels], of any number of rows. Returns float32 [channels].
    """
    extremes = (weight.aminmax(dim=0) for weight in weights)  # on the weight itself: its abs() would be a copy
    return torch.stack([torch.maximum(high, -low).float() for low, high in extremes]).amax(dim=0)


def column_rms(weights: Iterable[Tensor]) -> Tensor:
    """Return the root mean square of W_j per input channel, over all rows [rows, channels] of all the tensors."""
    squares = [(weight.float().square().sum(dim=0), len(weight)) for weight in weights]
    return (torch.stack([total for total, _ in squares]).sum(dim=0) / sum(count for _, count in squares)).sqrt()


def smoothing_scales(activation_absmax: Tensor, weight_absmax: Tensor, alpha: float) -> Tensor:
    """Return s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), equation 4 of the paper.

    Both inputs and the result are [channels], the result float32 and positive. `alpha` in [0, 1] is
    the part of the difficulty that moves from the activations to the weights.
    """
    activations, weights = activation_absmax.float(), weight_absmax.float()
    scales = activations.pow(alpha) / weights.pow(1 - alpha)
    live = (activations > MINIMUM_MAGNITUDE) & (weights > MINIMUM_MAGNITUDE)
    return torch.where(live, scales, torch.ones_like(scales))


def max_over_shared_heads(ranges: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    """Reduce [n_heads x head_dim] to [n_kv_heads x head_dim]: the largest over the query heads that share a kv head.

    Under grouped-query attention consecutive query heads read the same kv head (repeat_kv in transformers), so
    the columns of `o` that stand for one channel of `v` can have one scale only.
    """
    return ranges.view(n_kv_heads, n_heads // n_kv_heads, -1).amax(dim=1).flatten()


def repeat_over_shared_heads(scales: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    """Expand [n_kv_heads x head_dim] to [n_heads x head_dim]: a kv head's scales for every query head that reads it."""
    return scales.view(n_kv_heads, 1, -1).expand(-1, n_heads // n_kv_heads, -1).flatten()


def divide_last_rows(tensor: Tensor, scales: Tensor, offset: float = 0.0) -> Tensor:
    """Return a copy with the last len(scales) rows divided, float32: rounding again would lose the gain.

    `tensor`: a linear's weight [out, in], its bias or a norm's weight [out]. All rows are the last ones, except in
    a fused linear. `offset`: what is stored is the value less this (1 for Gemma's norms), so that the value is
    divided: (1 + w) / s - 1.
    """
    divided = tensor.to(torch.float32, copy=True)
    last = divided[len(divided) - len(scales) :]
    last += offset
    last /= scales.view(-1, *[1] * (tensor.dim() - 1))
    last -= offset
    return divided


def multiply_columns(weight: Tensor, scales: Tensor) -> Tensor:
    """Return the linear's weight [out, channels] with the scales put into its columns, float32. A bias stays."""
    return weight.to(torch.float32, copy=True).mul_(scales)  # one copy: a head is as large as a layer
