from __future__ import annotations

import pytest
import torch

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.search import AlphaSearch, held_out_windows
from smoothdroid.host.model.calibration.windows import ReaderInputs
from smoothdroid.host.model.smoothquant.folds import Fold
from tests.host.model.calibration.test_fold_scales import Held

NORM = Fold("norm", "norm", ("up",))


def chosen(loud: float, kernel: str, quantisation: str = "q8_0") -> float | None:
    """The strength for a linear of 64 channels, one of whose activations is `loud` times the others."""
    generator = torch.Generator().manual_seed(0)
    activations = torch.randn(256, 64, generator=generator)
    activations[:, 5] *= loud
    seen = ReaderInputs(keep_every=1)
    seen.add(activations)
    weight = torch.randn(48, 64, generator=generator)
    search = AlphaSearch.for_kernel(kernel, quantisation, n_tokens=256)
    return search([NORM], {NORM: seen}, Held({"up.weight": weight, "norm.weight": torch.ones(64)}))[NORM].alpha


@pytest.mark.parametrize("kernel", ["ggml", "kleidiai"])
def test_a_loud_channel_is_folded(kernel: str) -> None:
    assert chosen(50.0, kernel) is not None


def test_weights_of_few_bits_take_less_than_those_of_many() -> None:
    """What moves into the weights costs more there when they have 4 bits."""
    four, eight = chosen(50.0, "ggml", "q4_0"), chosen(50.0, "ggml", "q8_0")
    assert eight is not None
    assert four is None or four < eight


def test_experts_are_ggmls_whatever_the_kernel() -> None:
    """A channel that is loud in one token of one row hurts a whole token under KleidiAI, and one block under ggml."""
    generator = torch.Generator().manual_seed(0)
    activations, weight = torch.randn(256, 64, generator=generator), torch.randn(48, 64, generator=generator)
    activations[:, 5] *= 50
    expert = Fold("up-down", "experts.0.w3", ("block.experts.0.w2",), experts="mlp.experts", expert=0)
    seen = ReaderInputs(keep_every=1)
    seen.add(activations)
    tensors = Held({"block.experts.0.w2.weight": weight, "experts.0.w3.weight": torch.ones(64, 1)})
    chosen = [
        AlphaSearch.for_kernel(kernel, "q8_0", n_tokens=256)([expert], {expert: seen}, tensors)[expert]
        for kernel in ("ggml", "kleidiai")
    ]
    assert chosen[0].alpha == chosen[1].alpha
    assert torch.equal(chosen[0].scales, chosen[1].scales)


def test_held_out_windows() -> None:
    assert held_out_windows(512) == 4
    assert held_out_windows(4096) == 2


def test_a_kernel_that_is_not_known() -> None:
    with pytest.raises(BadInput, match="mps"):
        AlphaSearch.for_kernel("mps", "q8_0", 100)
