from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.network import BATCH_TOKENS, Network
from smoothdroid.host.model.calibration.transformers_loading import load_tokenizer
from smoothdroid.host.model.checkpoint.folder import Checkpoint, open_checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES
from smoothdroid.host.model.smoothquant.folds import Sizes

MakeCheckpoint = Callable[..., Path]
WINDOWS = torch.randint(3, 200, (3, 20), generator=torch.Generator().manual_seed(0))


def logits(checkpoint: Checkpoint, windows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    network, weights = Network(checkpoint), Weights(checkpoint)
    stream = network.begin(windows, weights, dtype)
    for number in range(network.sizes.n_layers):
        with network.layer(number, lambda name: weights.read(name, dtype)) as layer:
            network.advance(stream, number, layer)
        assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}, "no weight stays in memory"
    return network.logits(stream, weights)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("tied", [True, False])
def test_layer_by_layer_is_what_transformers_computes_at_once(
    make_checkpoint: MakeCheckpoint, architecture: str, tied: bool
) -> None:
    folder = make_checkpoint(architecture=architecture, tied=tied)
    library: Any = transformers
    whole = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        wanted = whole(input_ids=WINDOWS, use_cache=False).logits
    assert torch.allclose(logits(open_checkpoint(folder), WINDOWS), wanted, atol=1e-5)


def test_many_windows_go_in_batches(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint())
    windows = WINDOWS.repeat(BATCH_TOKENS // 20, 1)
    found = logits(checkpoint, windows)
    assert found.shape[:2] == windows.shape
    assert torch.allclose(found[:3], found[-3:], atol=1e-5)


def test_bfloat16_is_near_float32(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint(dtype=torch.bfloat16))
    exact, near = logits(checkpoint, WINDOWS), logits(checkpoint, WINDOWS, torch.bfloat16)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.1 * (exact.max() - exact.min())


def test_missing_weights_are_not_made_up(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint()
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"tiny: model\.layers\.1\.mlp\.up_proj\.weight is not in its weight files"):
        Network(open_checkpoint(folder))


@pytest.mark.parametrize(
    "change", [{"hidden_size": 128}, {"intermediate_size": 128}, {"num_key_value_heads": None}, {"vocab_size": 99}]
)
def test_shapes_that_contradict_the_config(make_checkpoint: MakeCheckpoint, change: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"tiny: \S+ has the shape \[.*\], and by config.json it is \["):
        Network(reconfigured(make_checkpoint(), **change))


def test_sizes_are_those_of_the_config(make_checkpoint: MakeCheckpoint) -> None:
    assert Network(open_checkpoint(make_checkpoint())).sizes == Sizes(n_layers=2, n_heads=4, n_kv_heads=2)
    experts = open_checkpoint(make_checkpoint("experts", "MixtralForCausalLM"))
    assert Network(experts).sizes == Sizes(n_layers=2, n_heads=4, n_kv_heads=2, n_experts=4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": "64"},
        {"hidden_size": -1},
        {"num_attention_heads": 0},
        {"num_key_value_heads": 0},
        {"hidden_act": "nonsense"},
        {"model_type": "nonsense"},
        {"model_type": 3},
        {"rope_parameters": 3},
    ],
)
def test_a_config_that_makes_no_model(make_checkpoint: MakeCheckpoint, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"config\.json: transformers can make no model of it"):
        Network(reconfigured(make_checkpoint(), **wrong))


@pytest.mark.parametrize("n_layers", [3, 10**12, "2", None])
def test_a_number_of_layers_that_contradicts_the_weights(make_checkpoint: MakeCheckpoint, n_layers: object) -> None:
    with pytest.raises(BadInput, match=r"num_hidden_layers|model\.layers\.2"):
        Network(reconfigured(make_checkpoint(), num_hidden_layers=n_layers))


def test_a_config_of_another_model(make_checkpoint: MakeCheckpoint) -> None:
    """A Gemma that calls itself a Llama would be folded by the wrong row of the table."""
    folder = make_checkpoint(architecture="GemmaForCausalLM")
    with pytest.raises(BadInput, match=r"a model_type of 'gemma' makes a GemmaForCausalLM"):
        Network(reconfigured(folder, architectures=["LlamaForCausalLM"]))


def test_experts_of_another_shape_are_bad_input(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint(architecture="MixtralForCausalLM")
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"experts\.2\.w1\.weight has the shape \[95, 64\], and by .* \[96, 64\]"):
        Network(open_checkpoint(folder))
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"experts\.2\.w1\.weight is not in its weight files"):
        Network(open_checkpoint(folder))


def test_a_tokenizer_that_is_none(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint()
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="tiny: transformers cannot load its tokenizer"):
        load_tokenizer(folder)


def reconfigured(folder: Path, **changed: object) -> Checkpoint:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    return open_checkpoint(folder)


def test_a_text_with_a_token_beyond_the_rows_is_refused(make_checkpoint: MakeCheckpoint) -> None:
    """llama.cpp's converter leaves such tokens out: Gemma 3 1B has <image_soft_token>."""
    checkpoint = open_checkpoint(make_checkpoint())
    with pytest.raises(BadInput, match="the text has the token 320, and the model has 320 rows"):
        Network(checkpoint).begin(torch.tensor([[1, 320, 5]]), Weights(checkpoint))
