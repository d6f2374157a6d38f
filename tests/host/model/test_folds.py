from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from device.errors import BadInput
from host.model.folds import FOLDS, Fold, expand, folds_of

CONFIG = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("architecture", sorted(FOLDS))
def test_every_row_names_modules_that_are_there(architecture: str) -> None:
    model_type = architecture.removesuffix("ForCausalLM").lower()
    config = AutoConfig.for_model(model_type, vocab_size=32, num_key_value_heads=1, **CONFIG)
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(config)
    for fold in expand(folds_of(architecture), 2):
        (channels,) = model.get_submodule(fold.norm).weight.shape
        for linear in fold.linears:
            assert model.get_submodule(linear).in_features == channels


def test_llama_has_the_papers_folds() -> None:
    assert expand(folds_of("LlamaForCausalLM"), 8)[15] == Fold(
        norm="model.layers.7.post_attention_layernorm",
        linears=("model.layers.7.mlp.gate_proj", "model.layers.7.mlp.up_proj"),
    )
    assert str(folds_of("LlamaForCausalLM")[0]) == "model.layers.{layer}.input_layernorm -> q_proj, k_proj, v_proj"


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"GPT2LMHeadModel.*Known: LlamaForCausalLM"):
        folds_of("GPT2LMHeadModel")
