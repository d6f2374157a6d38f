from __future__ import annotations

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.smoothquant.folds import Fold, Sizes, alphas_of, expand, folds_of, parse_folds

SIZES = Sizes(n_layers=8, n_heads=4, n_kv_heads=2, n_experts=3)


def test_a_llamas_folds() -> None:
    last = expand(folds_of("LlamaForCausalLM"), SIZES)[-4:]
    mlp, attention = "model.layers.7.mlp", "model.layers.7.self_attn"
    assert last == (
        Fold("v-o", f"{attention}.v_proj", (f"{attention}.o_proj",), n_heads=4, n_kv_heads=2, layer=7),
        Fold("up-down", f"{mlp}.up_proj", (f"{mlp}.down_proj",), layer=7),
        Fold("norm", "model.layers.7.input_layernorm", tuple(f"{attention}.{name}_proj" for name in "qkv"), layer=7),
        Fold("norm", "model.layers.7.post_attention_layernorm", (f"{mlp}.gate_proj", f"{mlp}.up_proj"), layer=7),
    )
    assert str(folds_of("LlamaForCausalLM")[2]) == "model.layers.{layer}.input_layernorm -> q_proj, k_proj, v_proj"


def test_a_mixtrals_experts_share_a_norm_and_have_scales_of_their_own() -> None:
    folds = [fold for fold in expand(folds_of("MixtralForCausalLM"), SIZES) if ".layers.2." in fold.source]
    moe = "model.layers.2.block_sparse_moe"
    assert [(fold.source, fold.readers) for fold in folds if fold.kind == "up-down"] == [
        (f"{moe}.experts.{number}.w3", (f"{moe}.experts.{number}.w2",)) for number in range(3)
    ]
    assert [(fold.experts, fold.expert) for fold in folds if fold.kind == "up-down"] == [
        ("model.layers.2.mlp.experts", number) for number in range(3)
    ]
    assert folds[-1].readers == (
        f"{moe}.gate",
        *(f"{moe}.experts.{number}.{name}" for name in ("w1", "w3") for number in range(3)),
    )


def test_kinds_choose_among_the_folds() -> None:
    assert [fold.kind for fold in folds_of("Gemma2ForCausalLM", ["norm", "v-o"])] == ["v-o", "norm", "norm"]
    assert parse_folds("norm, up-down") == (("up-down", "norm"), False)
    assert parse_folds("rotate,v-o,v-o") == (("v-o",), True)
    assert parse_folds("rotate") == ((), True)


@pytest.mark.parametrize(
    ("text", "says"), [("norm,turn", "no fold 'turn'"), ("", "a name is missing"), ("norm,", "a name is missing")]
)
def test_a_fold_that_is_none(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=rf"{says}. There are norm, up-down, v-o, rotate"):
        parse_folds(text)


def test_one_alpha_for_all_or_one_for_each() -> None:
    assert alphas_of(("up-down", "norm"), "0.5") == {"up-down": 0.5, "norm": 0.5}
    assert alphas_of(("up-down", "norm"), "norm=0.5, up-down=1") == {"up-down": 1, "norm": 0.5}
    assert alphas_of(("norm",), 0) == {"norm": 0}


@pytest.mark.parametrize("text", ["", "high", "norm=", "norm=0.5=0.6", "norm=0.5,0.3", "norm:0.5"])
def test_an_alpha_that_is_none(text: str) -> None:
    with pytest.raises(BadInput, match="it is auto, a number, or one for each fold"):
        alphas_of(("norm",), text)


@pytest.mark.parametrize(
    ("alpha", "says"),
    [
        ("1.1", r"alpha is 1\.1 for norm"),
        ("nan", "alpha is nan for norm"),
        ("norm=-0.1", r"alpha is -0\.1 for norm"),
        ("up-down=0.5", "given for up-down, and the folds are norm"),
        ("norm=0.5,v-o=0.5", "given for norm, v-o, and the folds are norm"),
    ],
)
def test_alphas_that_do_not_fit(alpha: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        alphas_of(("norm",), alpha)


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"GPT2LMHeadModel.*Known: .*Gemma2ForCausalLM, .*Qwen3ForCausalLM.*--plain"):
        folds_of("GPT2LMHeadModel")
