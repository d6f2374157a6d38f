from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.host.model.smoothquant.formulas import (
    MINIMUM_MAGNITUDE,
    column_absmax,
    divide_last_rows,
    max_over_shared_heads,
    multiply_columns,
    repeat_over_shared_heads,
    smoothing_scales,
)

ALPHAS = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)
CHANNELS = 12


def layer(seed: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """A normalised input, a norm's weight with outliers, and the two linears that read it; float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, CHANNELS, generator=generator, dtype=torch.float64)
    norm = torch.randn(CHANNELS, generator=generator, dtype=torch.float64).mul(1.5).exp()
    linears = [torch.randn(rows, CHANNELS, generator=generator, dtype=torch.float64) for rows in (7, 3)]
    return x, norm, linears


def scales_of(x: torch.Tensor, norm: torch.Tensor, linears: list[torch.Tensor], alpha: float) -> torch.Tensor:
    return smoothing_scales((x * norm).abs().amax(dim=0), column_absmax(linears), alpha)


@given(seed=SEEDS, alpha=ALPHAS)
def test_folding_both_sides_leaves_the_product(seed: int, alpha: float) -> None:
    x, norm, linears = layer(seed)
    s = scales_of(x, norm, linears, alpha)
    for linear in linears:
        before = (x * norm) @ linear.T
        after = (x * divide_last_rows(norm, s)) @ multiply_columns(linear, s).double().T
        assert torch.allclose(before, after, rtol=1e-5, atol=1e-5 * before.abs().max().item())


@given(seed=SEEDS)
def test_folding_one_side_does_not(seed: int) -> None:
    x, norm, linears = layer(seed)
    s = scales_of(x, norm, linears, 0.5)
    before = (x * norm) @ linears[0].T
    for after in (
        (x * divide_last_rows(norm, s)) @ linears[0].T,
        (x * norm) @ multiply_columns(linears[0], s).double().T,
    ):
        assert not torch.allclose(before, after, rtol=1e-2, atol=1e-2 * before.abs().max().item())


@given(seed=SEEDS, alpha=ALPHAS)
def test_alpha_shares_the_range_between_the_sides(seed: int, alpha: float) -> None:
    """After folding, max|X_j| = (max|X_j| max|W_j|)^(1 - alpha), and max|W_j| the same to the power alpha."""
    x, norm, linears = layer(seed)
    activations, weights = (x * norm).abs().amax(dim=0).float(), column_absmax(linears)
    s = smoothing_scales(activations, weights, alpha)
    assert torch.allclose(activations / s, (activations * weights) ** (1 - alpha), rtol=1e-4)
    folded = column_absmax([multiply_columns(linear, s) for linear in linears])
    assert torch.allclose(folded, (activations * weights) ** alpha, rtol=1e-4)


def test_the_formula_by_hand() -> None:
    s = smoothing_scales(torch.tensor([16.0, 1.0]), torch.tensor([0.25, 4.0]), 0.5)
    assert s.tolist() == [8.0, 0.5]
    assert smoothing_scales(torch.tensor([16.0]), torch.tensor([0.25]), 0.75).item() == pytest.approx(8 * 2**0.5)


def test_column_absmax_is_over_all_linears() -> None:
    weights = [torch.tensor([[1.0, -2.0], [0.5, 1.0]]), torch.tensor([[-3.0, 0.0]])]
    assert column_absmax(weights).tolist() == [3.0, 2.0]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("activation", "weight"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (MINIMUM_MAGNITUDE / 2, 1.0)])
def test_a_dead_channel_is_left_alone(activation: float, weight: float, alpha: float) -> None:
    assert smoothing_scales(torch.tensor([activation]), torch.tensor([weight]), alpha).tolist() == [1.0]


@given(seed=SEEDS)
def test_half_precision_weights_are_folded_in_float32(seed: int) -> None:
    _, norm, linears = layer(seed)
    s = torch.full((CHANNELS,), 1 / 3)
    half = linears[0].half()
    assert multiply_columns(half, s).dtype == divide_last_rows(norm.bfloat16(), s).dtype == torch.float32
    assert torch.equal(multiply_columns(half, s), half.float() * s)


def test_the_last_rows_are_divided_and_the_others_left() -> None:
    weight, bias = torch.arange(1.0, 9).view(4, 2), torch.arange(1.0, 5)
    scales = torch.tensor([2.0, 4.0])
    assert divide_last_rows(weight, scales).tolist() == [[1, 2], [3, 4], [2.5, 3], [1.75, 2]]
    assert divide_last_rows(bias, scales).tolist() == [1, 2, 1.5, 1]
    assert weight[2].tolist() == [5, 6], "the tensor that is given stays"


def test_a_norm_that_stores_less_than_it_multiplies_by() -> None:
    """Gemma's: x * (1 + w), so that w' = (1 + w) / s - 1, and nothing like w / s."""
    w = torch.tensor([1.0, 0.0, -0.5])
    assert divide_last_rows(w, torch.tensor([4.0, 2.0, 0.5]), offset=1.0).tolist() == [-0.5, -0.5, 0.0]


def test_query_heads_that_share_a_kv_head() -> None:
    """4 query heads of 2 channels, 2 kv heads: heads 0 and 1 read the first, 2 and 3 the second."""
    ranges = torch.tensor([1.0, 8, 3, 2, 5, 6, 7, 0])
    shared = max_over_shared_heads(ranges, 4, 2)
    assert shared.tolist() == [3, 8, 7, 6]
    assert repeat_over_shared_heads(shared, 4, 2).tolist() == [3, 8, 3, 8, 7, 6, 7, 6]
    assert torch.equal(max_over_shared_heads(ranges, 1, 1), ranges)
    assert torch.equal(repeat_over_shared_heads(ranges, 1, 1), ranges)
