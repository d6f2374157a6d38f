"""Arm's KleidiAI inside llama.cpp (cmake's GGML_CPU_KLEIDIAI): dotprod, i8mm and SVE kernels.

Q8_0: when a file is loaded, `repack` (ggml-cpu/kleidiai/kleidiai.cpp) takes its blocks back to float32 and quantises
every row again, with one symmetric int8 scale. Activations get one asymmetric int8 scale per token
(kai_lhs_quant_pack_qai8dxp_f32). One loud channel costs the whole token its precision here.

Q4_0: the file's blocks as they are (qsi4c32p), and activations in blocks of 32 with an f16 scale (qsi8d32p): what
ggml's own kernels do.

KleidiAI multiplies with every matrix that is a linear's, the head included (llama.cpp gives it a copy of a tied one).
The experts of a mixture (MUL_MAT_ID) are left to ggml: `ggml_kleidiai_select_kernels` knows MUL_MAT alone.

Not implemented: SME2, where prefill multiplies Q4_0 with activations in f16 (Q8_0 is as above).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from smoothdroid.host.model.arithmetic.ggml import Ggml, checked, round_half_away

LOWEST, HIGHEST = -128, 127


@dataclass(frozen=True)
class Kleidiai:
    """KleidiAI's kernels: implements Arithmetic."""

    name: str = "kleidiai"
    _blocks: Ggml = field(default=Ggml(), repr=False)

    def weights(self, weight: Tensor, quantisation: str) -> Tensor:
        """Return the weights through the file's blocks, and for Q8_0 then through one scale per output row."""
        stored = self._blocks.weights(weight, quantisation)
        return _by_row(stored) if quantisation == "q8_0" else stored

    def activations(self, activations: Tensor, quantisation: str) -> Tensor:
        """Return the activations with one asymmetric scale per token for Q8_0, in blocks of 32 for Q4_0."""
        if checked(quantisation) == "q4_0":
            return self._blocks.activations(activations, quantisation)
        return _by_token(activations.float())


def _by_row(weight: Tensor) -> Tensor:
    scale = weight.abs().amax(dim=-1, keepdim=True) / 127
    inverse = torch.where(scale > 0, 1 / scale, 0)
    return round_half_away(weight * inverse).clamp(-127, 127) * scale


def _by_token(tokens: Tensor) -> Tensor:
    """Round each token to int8 with one asymmetric scale. The zero point is a whole number, so that zero is exact.

    The scale maps the range to 255 steps; the zero point is reckoned from the end of the range where that errs less.
    Half goes to even, as in the NEON code; the plain C beside it (dotprod without i8mm) rounds half away from zero.
    """
    least = tokens.amin(dim=-1, keepdim=True).clamp(max=0)
    most = tokens.amax(dim=-1, keepdim=True).clamp(min=0)
    # A tensor on both sides: torch takes number / tensor to be number * (1 / tensor), which rounds twice.
    inverse = torch.where(least == most, 1, torch.full_like(most, HIGHEST - LOWEST) / (most - least))
    scaled_least, scaled_most = least * inverse, most * inverse
    from_least = (LOWEST + scaled_least) + (HIGHEST + scaled_most) > 0
    zero_point = torch.where(from_least, LOWEST - scaled_least, HIGHEST - scaled_most).clamp(LOWEST, HIGHEST).round()
    steps = (torch.round(tokens * inverse) + zero_point).clamp(LOWEST, HIGHEST)
    return (steps - zero_point) * (1 / inverse)
