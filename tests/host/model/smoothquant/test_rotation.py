from __future__ import annotations

import pytest
import torch

from smoothdroid.host.model.smoothquant.rotation import Rotation, factor_sizes


@pytest.mark.parametrize(
    ("size", "sizes"),
    [(1, []), (64, [64]), (576, [64, 9]), (2048, [64, 32]), (4096, [64, 64]), (5120, [64, 16, 5]), (9, [9])],
)
def test_factors(size: int, sizes: list[int]) -> None:
    assert factor_sizes(size) == sizes


@pytest.mark.parametrize("size", [1, 2, 9, 64, 96, 576])
def test_it_is_orthogonal_and_follows_the_seed(size: int) -> None:
    q = Rotation(size, seed=3).rotate_columns(torch.eye(size))
    assert torch.allclose(q @ q.T, torch.eye(size), atol=1e-5)
    assert torch.equal(q, Rotation(size, seed=3).rotate_columns(torch.eye(size)))
    if size > 2:
        assert not torch.allclose(q, Rotation(size, seed=4).rotate_columns(torch.eye(size)), atol=0.01)


def test_it_spreads_one_loud_channel_over_all() -> None:
    loud = torch.zeros(1, 576)
    loud[0, 7] = 100.0
    rotated = Rotation(576, seed=0).rotate_columns(loud).abs()
    assert rotated.max() < 20  # evenly would be 100 / sqrt(576) = 4.2
    assert (rotated > 0.1).float().mean() > 0.7


def test_rows_are_turned_as_the_output_is() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(*shape, generator=generator) for shape in ((96, 8), (96,), (5, 8)))
    rotation = Rotation(96, seed=0)
    rotated = x @ rotation.rotate_rows(weight).T + rotation.rotate_rows(bias)
    assert torch.allclose(rotated, rotation.rotate_columns(x @ weight.T + bias), atol=1e-5)
