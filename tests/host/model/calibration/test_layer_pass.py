from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.model.calibration.fold_scales import GivenAlphas
from smoothdroid.host.model.calibration.layer_pass import (
    compare,
    compare_in_float64,
    fold_layers,
    mean_kld,
    require_equivalent,
)
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.calibration.search import AlphaSearch
from smoothdroid.host.model.calibration.windows import Windows
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.provenance.manifest import Equivalence
from smoothdroid.host.model.smoothquant.folds import KINDS, expand, folds_of, residual_stream
from smoothdroid.host.model.smoothquant.rotation import Rotation
from smoothdroid.host.model.smoothquant.tensor_changes import rotation_changes

MakeCheckpoint = Callable[..., Path]
TOKENS = torch.randint(3, 200, (5, 40), generator=torch.Generator().manual_seed(0))
WINDOWS = Windows(TOKENS[:3], TOKENS[3:])


def test_a_fold_that_leaves_a_reader_out_is_refused(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint())
    network = Network(checkpoint)
    (fold, *_) = expand(folds_of("LlamaForCausalLM", ["norm"]), network.sizes)
    wrong = replace(fold, readers=fold.readers[:-1])
    with pytest.raises(SmoothdroidError, match=r"tiny: the smoothed model is not the same function: a logit differs"):
        fold_layers(network, checkpoint, WINDOWS, [wrong], GivenAlphas({"norm": 0.5}))
    reports: list[tuple[str, int, int]] = []
    fold_layers(
        network, checkpoint, WINDOWS, [fold], GivenAlphas({"norm": 0.5}), on_progress=lambda *at: reports.append(at)
    )
    assert reports == [("layers", 1, 2), ("layers", 2, 2)]


# Random Gemma 2 of 8 layers: what rounding does to one number grows from layer to layer.
LOUD = {"num_hidden_layers": 8, "initializer_range": 0.2}


@pytest.mark.fault(
    "a sound model whose own float32 rounding exceeds the proof's bound",
    transport="workstation",
    outcome="the proof is repeated in float64, and the model is accepted; a wrong fold is still refused",
)
def test_rounding_is_told_from_a_wrong_fold_in_float64(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint(architecture="Gemma2ForCausalLM", tied=True, config=LOUD))
    network = Network(checkpoint)
    folds = expand(folds_of("Gemma2ForCausalLM", ["norm"]), network.sizes)
    proof = fold_layers(network, checkpoint, WINDOWS, folds, GivenAlphas({"norm": 0.5})).equivalence
    assert proof.computed_in == "float64"
    assert proof.max_abs_logit_difference < 1e-10 * proof.logit_range
    wrong = replace(folds[0], readers=folds[0].readers[:-1])
    with pytest.raises(SmoothdroidError, match=r"not the same function: a logit differs by \S+ in float64"):
        fold_layers(network, checkpoint, WINDOWS, [wrong, *folds[1:]], GivenAlphas({"norm": 0.5}))


@pytest.mark.parametrize(("architecture", "rotate"), [("MixtralForCausalLM", True), ("Phi3ForCausalLM", False)])
def test_float64_reaches_all_that_transformers_computes(
    make_checkpoint: MakeCheckpoint, architecture: str, rotate: bool
) -> None:
    """Norms, softmax, fused linears, experts, the rotation: nine digits more than float32 has."""
    checkpoint = open_checkpoint(make_checkpoint(architecture=architecture))
    network = Network(checkpoint)
    folds = expand(folds_of(architecture), network.sizes)
    rotated = None
    if rotate:
        stream = residual_stream(architecture, network.sizes)
        names = [f"{norm}.weight" for norm in stream.readers]
        norms = {name: Weights(checkpoint).read(name) for name in names}
        rotated = rotation_changes(stream, Rotation(network.hidden_size, 0), norms, checkpoint.tensors)
    found = fold_layers(network, checkpoint, WINDOWS, folds, GivenAlphas(dict.fromkeys(KINDS, 0.5)), rotated=rotated)
    assert found.equivalence.computed_in == "float32"
    exact = compare_in_float64(network, Weights(checkpoint), Weights(checkpoint, found.changes), WINDOWS.held_out)
    assert 0 < exact.max_abs_logit_difference < 1e-12 * exact.logit_range


@pytest.mark.parametrize("difference", [3.1e-3, float("nan"), float("inf")])
def test_beyond_rounding(make_checkpoint: MakeCheckpoint, difference: float) -> None:
    checkpoint = open_checkpoint(make_checkpoint())
    require_equivalent(checkpoint, Equivalence(max_abs_logit_difference=2.9e-3, logit_range=100, n_tokens=1))
    with pytest.raises(SmoothdroidError, match=r"rounding explains 0\.003 .*Nothing was written"):
        require_equivalent(checkpoint, Equivalence(max_abs_logit_difference=difference, logit_range=100, n_tokens=1))


def test_compare_by_hand() -> None:
    found = compare(torch.tensor([[[1.0, -3.0], [0.0, 2.0]]]), torch.tensor([[[1.0, -3.0], [0.5, 2.0]]]))
    assert found == Equivalence(max_abs_logit_difference=0.5, logit_range=5.0, n_tokens=2)


def test_mean_kld_by_hand() -> None:
    """Two tokens: one predicted alike, one half and half against a quarter and three quarters."""
    reference = torch.tensor([[[0.3, 0.3], [0.0, 0.0]]])
    other = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]))
    wanted = (0.5 * torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(2 / 3))) / 2
    assert mean_kld(reference, other) == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "MixtralForCausalLM"])
@pytest.mark.parametrize("kernel", ["ggml", "kleidiai"])
def test_a_trial_tells_folded_from_plain(make_checkpoint: MakeCheckpoint, kernel: str, architecture: str) -> None:
    checkpoint = open_checkpoint(make_checkpoint(architecture=architecture))
    network = Network(checkpoint)
    folds = expand(folds_of(architecture), network.sizes)
    trial = AlphaSearch.for_kernel(kernel, "q8_0", n_tokens=120)
    none = fold_layers(network, checkpoint, WINDOWS, [], GivenAlphas({}), trial=trial).trial
    assert none["plain"] == pytest.approx(none["folded"]), "nothing is folded"
    found = fold_layers(network, checkpoint, WINDOWS, folds, trial, trial=trial)
    assert found.trial["plain"] == pytest.approx(none["plain"])
    assert 0 < found.trial["folded"] < 0.9 * found.trial["plain"]
    assert found.calibrated_in == "float32"
