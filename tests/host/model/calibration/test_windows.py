from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.network import HiddenStates, Network
from smoothdroid.host.model.calibration.transformers_loading import load_tokenizer
from smoothdroid.host.model.calibration.windows import ReaderInputs, draw_windows, equal_shares, record_inputs
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.folds import Fold, expand, folds_of
from smoothdroid.host.model.texts.prose import Prose

MakeCheckpoint = Callable[..., Path]
WINDOWS = torch.randint(3, 200, (3, 20), generator=torch.Generator().manual_seed(0))


def test_windows_share_no_token_and_follow_the_seed(make_checkpoint: MakeCheckpoint) -> None:
    tokenizer = load_tokenizer(make_checkpoint())
    text = Prose("letters", "".join(chr(0x4E00 + number) for number in range(400)))  # each character occurs once
    windows = draw_windows([text], tokenizer, n_samples=5, seq_len=31, seed=3, n_held_out=2)
    drawn = torch.cat([windows.calibration, windows.held_out])
    assert windows.calibration.shape == (5, 31)
    assert windows.held_out.shape == (2, 31)
    assert (drawn[:, 0] == tokenizer.bos_token_id).all(), "the BOS token leads, as it does on the phone"
    # Three byte tokens make a character. No two windows hold the same three at the same place of the text.
    triples = [tuple(window[at : at + 3].tolist()) for window in drawn for at in range(1, 31 - 2, 3)]
    assert len(set(triples)) == len(triples)

    again = draw_windows([text], tokenizer, n_samples=5, seq_len=31, seed=3, n_held_out=2)
    assert torch.equal(again.calibration, windows.calibration)
    other = draw_windows([text], tokenizer, n_samples=5, seq_len=31, seed=4, n_held_out=2)
    assert not torch.equal(other.calibration, windows.calibration)


def test_a_short_text_is_told_how_short(make_checkpoint: MakeCheckpoint) -> None:
    tokenizer = load_tokenizer(make_checkpoint())
    n_tokens = len(tokenizer("fox " * 20, add_special_tokens=False)["input_ids"])
    with pytest.raises(BadInput, match=rf"short.txt.* has {n_tokens} tokens, and {(9 + 2) * 15} are"):
        draw_windows([Prose("short.txt", "fox " * 20)], tokenizer, n_samples=9, seq_len=16, seed=0, n_held_out=2)


def test_each_text_gives_equally_many_windows_as_far_as_it_reaches(make_checkpoint: MakeCheckpoint) -> None:
    tokenizer = load_tokenizer(make_checkpoint())
    texts = [Prose(name, name * length) for name, length in (("a", 60), ("b", 600), ("c", 600))]
    windows = draw_windows(texts, tokenizer, n_samples=11, seq_len=16, seed=0, n_held_out=2)

    def counts(drawn: Tensor) -> list[int]:
        return [tokenizer.convert_ids_to_tokens(drawn[:, 5].tolist()).count(name) for name in "abc"]

    # 60 characters are 4 windows of 15, one of which is held out.
    assert (counts(windows.held_out), counts(windows.calibration)) == ([1, 1, 0], [3, 4, 4])
    with pytest.raises(BadInput, match=r"^a, b, c: the calibration text has"):
        draw_windows(texts, tokenizer, n_samples=100, seq_len=16, seed=0, n_held_out=2)


@pytest.mark.parametrize(
    ("total", "limits", "shares"),
    [
        (0, [3], [0]),
        (5, [9, 9], [3, 2]),
        (5, [1, 9, 9], [1, 2, 2]),
        (5, [0, 9, 1], [0, 4, 1]),
        (1, [9, 9, 9], [1, 0, 0]),
    ],
)
def test_shares_are_as_equal_as_the_limits_allow(total: int, limits: list[int], shares: list[int]) -> None:
    assert equal_shares(total, limits) == shares


def test_ranges_are_those_of_the_readers_inputs(make_checkpoint: MakeCheckpoint) -> None:
    """Against the definition: all inputs of all readers of the layer, recorded over all windows at once."""
    network, weights, stream = begun(make_checkpoint())
    folds = [fold for fold in expand(folds_of("LlamaForCausalLM"), network.sizes) if fold.layer == 0]
    read: dict[str, Tensor] = {}
    with network.layer(0, weights.read) as layer:
        with record_inputs(layer, 0, folds, keep_every=7) as seen:
            network.advance(stream, 0, layer)
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in layer.modules()), (
            "hooks are off"
        )

        def record(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            read[name] = inputs[0].flatten(end_dim=-2)

        for fold in folds:
            for name in fold.readers:
                inner = name.removeprefix("model.layers.0.")
                layer.get_submodule(inner).register_forward_pre_hook(partial(record, name))
        network.advance(begun(weights.checkpoint.path)[2], 0, layer)
    assert seen.keys() == set(folds)
    for fold in folds:
        for name in fold.readers:
            assert torch.allclose(seen[fold].ranges(fold), read[name].abs().amax(dim=0), rtol=1e-4), name
            assert torch.allclose(torch.cat(seen[fold].rows), read[name][::7], rtol=1e-3, atol=1e-5), name


def test_each_expert_has_the_ranges_of_its_own_tokens(make_checkpoint: MakeCheckpoint) -> None:
    """Against Mixtral's definition, from the checkpoint's own tensors: w2 reads silu(w1 x) * (w3 x)."""
    network, weights, stream = begun(make_checkpoint(architecture="MixtralForCausalLM"), WINDOWS[:1])
    folds = [fold for fold in expand(folds_of("MixtralForCausalLM", ["up-down"]), network.sizes) if fold.layer == 0]
    assert len(folds) == 4
    inputs: list[Tensor] = []
    with network.layer(0, weights.read) as layer, record_inputs(layer, 0, folds) as seen:
        layer.get_submodule("mlp").register_forward_pre_hook(lambda _module, given: inputs.append(given[0][0]))
        network.advance(stream, 0, layer)
    prefix = "model.layers.0.block_sparse_moe"
    chosen = (inputs[0] @ weights.read(f"{prefix}.gate.weight").T).topk(2).indices
    for number, fold in enumerate(folds):
        w1, w3 = (weights.read(f"{prefix}.experts.{number}.{name}.weight") for name in ("w1", "w3"))
        x = inputs[0][(chosen == number).any(dim=1)]
        by_hand = (nn.functional.silu(x @ w1.T) * (x @ w3.T)).abs().amax(dim=0)
        assert torch.allclose(seen[fold].ranges(fold), by_hand, rtol=1e-4)


def test_an_expert_that_no_token_goes_to_has_no_range(make_checkpoint: MakeCheckpoint) -> None:
    """One token goes to two experts of four."""
    network, weights, stream = begun(make_checkpoint(architecture="MixtralForCausalLM"), WINDOWS[:1, :1])
    folds = [fold for fold in expand(folds_of("MixtralForCausalLM", ["up-down"]), network.sizes) if fold.layer == 0]
    with network.layer(0, weights.read) as layer, record_inputs(layer, 0, folds) as seen:
        network.advance(stream, 0, layer)
    assert sorted(bool(seen[fold].ranges(fold).any()) for fold in folds) == [False, False, True, True]


def test_activations_that_are_not_finite_are_refused() -> None:
    seen = ReaderInputs()
    seen.add(torch.tensor([[1.0, 2.0]]))
    seen.add(torch.tensor([[torch.nan, 0.0]]))
    with pytest.raises(BadInput, match=r"down\.weight: what it reads is not finite"):
        seen.ranges(Fold("up-down", "up", ("down",)))


def begun(folder: Path, windows: Tensor = WINDOWS) -> tuple[Network, Weights, HiddenStates]:
    checkpoint = open_checkpoint(folder)
    network, weights = Network(checkpoint), Weights(checkpoint)
    return network, weights, network.begin(windows, weights)
