from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.host.model.arithmetic.ggml import Ggml
from smoothdroid.host.model.arithmetic.kleidiai import Kleidiai

SEEDS = st.integers(0, 2**32)
F = np.float32


def tokens(seed: int) -> torch.Tensor:
    """[9, 96], as they come out of norms and of SiLU: outliers on one side, on both, all of one sign."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(9, 96, generator=generator) * 10 ** torch.empty(9, 1).uniform_(-3, 3, generator=generator)
    rows[0, 5] = 300
    rows[1, 7] = -300
    rows[2] = rows[2].abs() + 1
    rows[3] = -rows[3].abs() - 1
    rows[4, :2] = torch.tensor([80.0, -300.0])
    return rows


def by_hand(row: list[float]) -> list[float]:
    """One token, one value at a time, in float32, in the words of kai_lhs_quant_pack_qai8dxp_f32."""
    rmin, rmax = F(min(0, *row)), F(max(0, *row))
    scale = F(1) if rmin == rmax else F(255) / (rmax - rmin)
    descaled_min, descaled_max = rmin * scale, rmax * scale
    error_from_min, error_from_max = F(-128) + descaled_min, F(127) + descaled_max
    zero_point = F(-128) - descaled_min if error_from_min + error_from_max > 0 else F(127) - descaled_max
    nudged = round(float(min(max(zero_point, F(-128)), F(127))))
    quantised = [min(max(round(float(F(value) * scale)) + nudged, -128), 127) for value in row]
    return [float(F(q - nudged) * (F(1) / scale)) for q in quantised]


@given(seed=SEEDS)
def test_activations_by_hand(seed: int) -> None:
    rows = tokens(seed)
    assert Kleidiai().activations(rows, "q8_0").tolist() == [by_hand(row) for row in rows.tolist()]


@given(seed=SEEDS)
def test_activations_lie_within_a_step(seed: int) -> None:
    rows = tokens(seed)
    step = (rows.amax(-1, keepdim=True).clamp(min=0) - rows.amin(-1, keepdim=True).clamp(max=0)) / 255
    errors = (Kleidiai().activations(rows, "q8_0") - rows).abs() / step
    assert errors.max() <= 1.001  # half a step, and half of one more where the nudged zero point clips an end
    assert errors.mean() < 0.3


def test_a_loud_channel_costs_its_token_and_no_other() -> None:
    quiet = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    loud = quiet.clone()
    loud[0, 0] = 1000
    multiplied = Kleidiai().activations(loud, "q8_0")
    assert (multiplied[0, 1:] == 0).float().mean() > 0.8
    assert torch.equal(multiplied[1], Kleidiai().activations(quiet, "q8_0")[1])
    assert (Ggml().activations(loud, "q8_0")[0, 32:] == 0).float().mean() < 0.1


def test_weights_are_blocks_first_and_rows_then() -> None:
    matrix = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    matrix[:, 32:] *= 30
    matrix[3] = 0
    blocks = Ggml().weights(matrix, "q8_0").numpy()
    expected = []
    for row in blocks:
        scale = F(np.abs(row).max()) / F(127)
        inverse = F(1) / scale if scale else F(0)
        rounded = [F(np.copysign(np.floor(np.abs(value * inverse) + 0.5), value)) for value in row]
        expected.append([float(q * scale) for q in rounded])
    assert Kleidiai().weights(matrix, "q8_0").tolist() == expected
    assert not torch.equal(Kleidiai().weights(matrix, "q8_0"), torch.from_numpy(blocks))


@given(seed=SEEDS)
def test_q4_0_is_multiplied_as_ggml_does(seed: int) -> None:
    rows = tokens(seed)
    assert torch.equal(Kleidiai().weights(rows, "q4_0"), Ggml().weights(rows, "q4_0"))
    assert torch.equal(Kleidiai().activations(rows, "q4_0"), Ggml().activations(rows, "q4_0"))
