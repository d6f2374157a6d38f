from __future__ import annotations

import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smoothdroid.host.model.arithmetic.ggml import Ggml, round_half_away

TYPES = {"q8_0": GGMLQuantizationType.Q8_0, "q4_0": GGMLQuantizationType.Q4_0}


def stored(values: Tensor, quantisation: str) -> Tensor:
    """What a GGUF holds of the values, by the gguf package."""
    kind = TYPES[quantisation]
    return torch.from_numpy(dequantize(quantize(values.numpy(), kind), kind))


def weights(seed: int) -> Tensor:
    """[32, 128]: blocks of every magnitude, outliers, zeros, and several values of the largest magnitude."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(32, 128, generator=generator) * 10 ** torch.empty(32, 1).uniform_(-9, 4, generator=generator)
    matrix[3, 40] = 1e4
    matrix[4, 32:64] = 0
    matrix[5, :8] = torch.tensor([3.0, -3, 3, -3, 3, -3, 3, -3]) * matrix.abs().max()
    matrix[6] = matrix[6].sign()
    return matrix


@pytest.mark.parametrize("quantisation", TYPES)
@given(seed=st.integers(0, 2**32))
def test_weights_are_what_the_file_holds(quantisation: str, seed: int) -> None:
    matrix = weights(seed)
    assert torch.equal(Ggml().weights(matrix, quantisation), stored(matrix, quantisation))


@pytest.mark.parametrize("quantisation", TYPES)
def test_a_files_weights_stay_as_they_are(quantisation: str) -> None:
    once = Ggml().weights(torch.randn(64, 256, generator=torch.Generator().manual_seed(1)), quantisation)
    assert torch.equal(Ggml().weights(once, quantisation), once)


@pytest.mark.parametrize("quantisation", TYPES)
def test_activations_are_q8_0_whatever_the_weights(quantisation: str) -> None:
    tokens = torch.randn(7, 128, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Ggml().activations(tokens, quantisation), stored(tokens, "q8_0"))


def test_activations_round_half_to_even_and_weights_away_from_zero() -> None:
    halves = torch.tensor([[127.0, 0.5, -0.5, 1.5, 2.5, -2.5, *[0.0] * 26]])
    assert Ggml().activations(halves, "q8_0")[0, :6].tolist() == [127, 0, 0, 2, 2, -2]
    assert Ggml().weights(halves, "q8_0")[0, :6].tolist() == [127, 1, -1, 2, 3, -3]


def test_roundf() -> None:
    below_half = 0.5 - 2**-25
    values = torch.tensor([0.0, below_half, -below_half, 0.5, -0.5, 126.5, -126.5])
    assert round_half_away(values).tolist() == [0, 0, 0, 1, -1, 127, -127]
