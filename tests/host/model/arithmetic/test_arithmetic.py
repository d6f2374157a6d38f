from __future__ import annotations

import pytest
import torch

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.arithmetic import NAMES, arithmetic_of


@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_found_by_name(name: str) -> None:
    assert arithmetic_of(name).name == name


def test_unknown_kernels_are_named() -> None:
    with pytest.raises(BadInput, match=r"no kernels are called blas\. There are ggml, kleidiai"):
        arithmetic_of("blas")


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_multiplied_is_refused(name: str) -> None:
    kernel, matrix = arithmetic_of(name), torch.ones(2, 64)
    for of_side in (kernel.weights, kernel.activations):
        with pytest.raises(BadInput, match=r"q6_k is not known here\. There are q8_0, q4_0"):
            of_side(matrix, "q6_k")
    with pytest.raises(BadInput, match="rows of 48 values: a block holds 32"):
        kernel.weights(torch.ones(2, 48), "q8_0")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quantisation", ["q8_0", "q4_0"])
def test_zeros_and_shapes_stay(name: str, quantisation: str) -> None:
    kernel, tokens = arithmetic_of(name), torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(1))
    tokens[1, 2] = 0
    multiplied = kernel.activations(tokens, quantisation)
    assert (multiplied.shape, multiplied.dtype) == (tokens.shape, torch.float32)
    assert (multiplied[1, 2] == 0).all()
    weights = kernel.weights(torch.zeros(5, 64), quantisation)
    assert weights.shape == (5, 64)
    assert (weights == 0).all()
