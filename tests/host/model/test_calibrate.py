from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from device.errors import BadInput, SmoothdroidError
from host.model.calibrate import HELD_OUT_WINDOWS, activation_absmax, draw_windows
from host.model.folds import expand, folds_of
from host.model.network import load_model, load_tokenizer
from host.model.prose import Prose

MakeCheckpoint = Callable[..., Path]
FOLDS = expand(folds_of("LlamaForCausalLM"), 2)


def test_windows_share_no_token_and_follow_the_seed(make_checkpoint: MakeCheckpoint) -> None:
    tokenizer = load_tokenizer(make_checkpoint())
    text = Prose("letters", "".join(chr(0x4E00 + number) for number in range(400)))  # each character occurs once
    windows = draw_windows(text, tokenizer, n_samples=5, seq_len=31, seed=3)
    drawn = torch.cat([windows.calibration, windows.held_out])
    assert windows.calibration.shape == (5, 31)
    assert windows.held_out.shape == (HELD_OUT_WINDOWS, 31)
    assert (drawn[:, 0] == tokenizer.bos_token_id).all(), "the BOS token leads, as it does on the phone"
    # Three byte tokens make a character. No two windows hold the same three at the same place of the text.
    triples = [tuple(window[at : at + 3].tolist()) for window in drawn for at in range(1, 31 - 2, 3)]
    assert len(set(triples)) == len(triples)

    again = draw_windows(text, tokenizer, n_samples=5, seq_len=31, seed=3)
    assert torch.equal(again.calibration, windows.calibration)
    other = draw_windows(text, tokenizer, n_samples=5, seq_len=31, seed=4)
    assert not torch.equal(other.calibration, windows.calibration)


def test_a_short_text_is_told_how_short(make_checkpoint: MakeCheckpoint) -> None:
    tokenizer = load_tokenizer(make_checkpoint())
    n_tokens = len(tokenizer("fox " * 20, add_special_tokens=False)["input_ids"])
    with pytest.raises(BadInput, match=rf"short.txt.* has {n_tokens} tokens, and {(9 + HELD_OUT_WINDOWS) * 15} are"):
        draw_windows(Prose("short.txt", "fox " * 20), tokenizer, n_samples=9, seq_len=16, seed=0)


def test_ranges_are_those_of_the_linears_inputs(make_checkpoint: MakeCheckpoint) -> None:
    """Against the definition: the first norm's output, computed by hand over all windows at once."""
    model: Any = load_model(make_checkpoint())
    windows = torch.randint(3, 200, (3, 20), generator=torch.Generator().manual_seed(0))
    told: list[tuple[str, int, int]] = []
    absmax = activation_absmax(model, windows, FOLDS, lambda *progress: told.append(progress))

    embedded = model.model.embed_tokens(windows)
    by_hand = model.model.layers[0].input_layernorm(embedded).abs().amax(dim=(0, 1))
    assert torch.allclose(absmax["model.layers.0.input_layernorm"], by_hand, rtol=1e-5)
    assert absmax.keys() == {fold.norm for fold in FOLDS}
    assert told == [("calibrate", 1, 3), ("calibrate", 2, 3), ("calibrate", 3, 3)]
    assert not any(module._forward_pre_hooks for module in model.modules()), "the hooks are off again"


def test_activations_that_are_not_finite_are_refused(make_checkpoint: MakeCheckpoint) -> None:
    model: Any = load_model(make_checkpoint())
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight[0] = torch.nan
    with pytest.raises(SmoothdroidError, match=r"model.layers.1.input_layernorm.*not finite"):
        activation_absmax(model, torch.ones(1, 4, dtype=torch.long), FOLDS)
