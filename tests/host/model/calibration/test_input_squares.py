"""The importance matrix against a direct computation by transformers, of the model as it was and smoothed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from smoothdroid.host.model.calibration.input_squares import InputSquares
from smoothdroid.host.model.calibration.smooth_checkpoint import smooth_checkpoint
from smoothdroid.host.model.calibration.transformers_loading import load_tokenizer
from smoothdroid.host.model.calibration.windows import draw_windows
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.saving import save_changed
from smoothdroid.host.model.imatrix import column_scales, in_gguf, measured_matrix
from smoothdroid.host.model.provenance.manifest import Smoothing
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES
from smoothdroid.host.model.smoothquant.tensor_changes import save_changes
from smoothdroid.host.model.texts.prose import Prose

MakeCheckpoint = Callable[..., Path]


def directly(folder: Path, windows: Tensor) -> dict[str, np.ndarray]:
    """Run the whole model as transformers does; return the mean squares of what its linears read, by name."""
    library: Any = transformers
    model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    seen: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ".layers." in name:
            module.register_forward_pre_hook(
                lambda _module, inputs, name=name: seen.setdefault(f"{name}.weight", []).append(inputs[0].flatten(0, 1))
            )
    with torch.inference_mode():
        model(input_ids=windows)
    return {name: torch.cat(rows).double().square().mean(dim=0).numpy() for name, rows in seen.items()}


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Phi3ForCausalLM", "MixtralForCausalLM"])
def test_squares_are_those_of_the_whole_model(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, architecture: str
) -> None:
    model = make_checkpoint(architecture=architecture)
    checkpoint, row = open_checkpoint(model), ARCHITECTURES[architecture]
    text = Prose("prose", prose.read_text(encoding="utf-8"))
    settings = Smoothing(
        alpha={"norm": 0.5, "up-down": 0.4, "v-o": 0.3},
        folds=("norm", "up-down", "v-o"),
        rotate=False,
        untie=False,
        n_samples=4,
        seq_len=32,
        seed=0,
        calibration_text=text.name,
        calibration_sha256=text.sha256,
    )
    squares = InputSquares(row)
    changes, _ = smooth_checkpoint(
        checkpoint, settings, [text], model, device=torch.device("cpu"), say=lambda _step: None, squares=squares
    )
    squares.save(tmp_path / "squares")
    save_changes(changes, tmp_path / "changes")
    save_changed(checkpoint, tmp_path / "smoothed", changes)
    matrix = measured_matrix(tmp_path / "squares", row.gguf, chunks=4, chunk_size=32, dataset="prose")
    windows = draw_windows([text], load_tokenizer(model), n_samples=4, seq_len=32, seed=0, n_held_out=2).calibration
    scaled = matrix.divided(column_scales(tmp_path / "changes", row.gguf))
    for ours, folder in ((matrix, model), (scaled, tmp_path / "smoothed")):
        theirs = in_gguf(directly(folder, windows), row.gguf)
        assert theirs.keys() <= ours.squares.keys()
        assert len(theirs) >= 2 * 4
        for name, expected in theirs.items():
            assert np.allclose(ours.squares[name], expected, rtol=1e-4), name
            assert ours.counts[name].tolist() == [4 * 32]
    up = "blk.0.ffn_up_exps.weight" if row.experts else "blk.0.ffn_up.weight"
    assert not np.allclose(matrix.squares[up], scaled.squares[up], rtol=0.1)


def test_experts_see_the_tokens_that_go_to_them(make_checkpoint: MakeCheckpoint) -> None:
    """What Mixtral's experts read, against each expert computed apart, on tokens routed by hand."""
    row = ARCHITECTURES["MixtralForCausalLM"]
    library: Any = transformers
    model = library.AutoModelForCausalLM.from_pretrained(
        make_checkpoint(architecture="MixtralForCausalLM"), dtype=torch.float32
    )
    layer = model.model.layers[1]
    experts, hidden = layer.mlp.experts, torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([[0, 1], [0, 1], [1, 0], [2, 0], [0, 2], [1, 2]])  # nothing goes to the last expert
    squares = InputSquares(row)
    with squares.recording(layer, 1), torch.inference_mode():
        experts(hidden, chosen, torch.full((6, 2), 0.5))
    first = "model.layers.1.block_sparse_moe.experts.{}.{}.weight"
    assert [squares.count(first.format(number, "w1")) for number in range(4)] == [5, 4, 3, 0]
    routed = hidden[[0, 1, 2, 5]]
    assert torch.allclose(squares.mean(first.format(1, "w3")), routed.square().mean(dim=0), rtol=1e-5)
    gate, up = (routed @ experts.gate_up_proj[1].T).chunk(2, dim=-1)
    inner = nn.functional.silu(gate) * up
    assert torch.allclose(squares.mean(first.format(1, "w2")), inner.square().mean(dim=0), rtol=1e-4)
    assert squares.mean(first.format(3, "w2")).eq(1).all(), "as in llama.cpp, all columns are equal where none was seen"
