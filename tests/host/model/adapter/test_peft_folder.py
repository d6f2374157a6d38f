"""Adapters that cannot be used, each refused by the name of what is wrong with it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.adapter.peft_folder import open_adapter
from smoothdroid.host.model.checkpoint.folder import Checkpoint, open_checkpoint
from tests.host.model.adapter.peft_adapters import write_adapter
from tests.host.model.tiny_models import write_tiny_model

Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny", "LlamaForCausalLM"))


@pytest.fixture
def folder(base: Checkpoint, tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "lora", base.path)


def change(folder: Path, **settings: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def replace_tensors(folder: Path, tensors: dict[str, torch.Tensor | None]) -> None:
    """Put these tensors into the adapter; None takes one out."""
    file = folder / "adapter_model.safetensors"
    after = {**load_file(file), **tensors}
    save_file({name: tensor for name, tensor in after.items() if tensor is not None}, file)


def test_a_sound_adapter(folder: Path, base: Checkpoint) -> None:
    adapter = open_adapter(folder, base)
    assert len(adapter.modules) == 14
    added = adapter.modules["model.layers.0.self_attn.q_proj"]
    stored = load_file(folder / "adapter_model.safetensors")
    assert torch.allclose(added.product, 8 / 4 * stored[f"{Q}.lora_B.weight"] @ stored[f"{Q}.lora_A.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, r"its peft_type is 'IA3'\. Only LoRA"),
        (
            {"modules_to_save": ["lm_head", "embed_tokens"]},
            r"modules_to_save \['lm_head', 'embed_tokens'\]: .*whole mod",
        ),
        ({"trainable_token_indices": [5]}, r"trainable_token_indices \[5\]: .*embeddings of its own"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, r"target_parameters .*fused experts"),
        ({"layer_replication": [[0, 2], [1, 3]]}, r"layer_replication .*repeats layers"),
        ({"fan_in_fan_out": True}, r"fan_in_fan_out: .*transposed"),
        ({"alora_invocation_tokens": [1, 2]}, r"alora_invocation_tokens \[1, 2\]: .*activated LoRA"),
        ({"bias": "lora_only"}, r"bias is 'lora_only'"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights is 'pissa': .*path_initial_model_for_weight_conversion"),
        ({"kasa_config": {"x": 1}}, r"kasa_config is not a setting that is known here"),
        ({"r": 0}, r"the rank r is 0"),
        ({"r": "8"}, r"the rank r is '8'"),
        ({"r": 10**12}, r"the rank r is 1000000000000"),
        ({"lora_alpha": 0}, r"the alpha lora_alpha is 0: it must be a number other than 0"),
        ({"lora_alpha": float("nan")}, r"the alpha lora_alpha is nan"),
        ({"rank_pattern": ["q_proj"]}, r"rank_pattern is not a table"),
        ({"alpha_pattern": {"(a+)+$": 3}}, r"alpha_pattern has the regular expression '\(a\+\)\+\$'"),
        ({"r": 8}, r"q_proj\.lora_A\.weight|lora_A\.weight has the shape \[4, .*for rank 8 on tiny it is \[8, "),
        ({"use_dora": True}, r"use_dora: this is a DoRA adapter, .*merge_and_unload"),
    ],
)
def test_settings_that_are_refused(folder: Path, base: Checkpoint, settings: dict[str, Any], message: str) -> None:
    change(folder, **settings)
    with pytest.raises(BadInput, match=message):
        open_adapter(folder, base)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{Q}.lora_B.weight": None}, r"model\.layers\.0\.self_attn\.q_proj\.lora_B\.weight is missing"),
        ({f"{Q}.lora_A.weight": torch.ones(4, 32)}, r"has the shape \[4, 32\], .*it is \[4, 64\].*another base"),
        ({f"{Q}.lora_A.weight": torch.full((4, 64), torch.nan)}, r"lora_A\.weight holds 256 values"),
        ({f"{Q}.lora_magnitude_vector": torch.ones(64)}, r"lora_magnitude_vector: not a part of a LoRA of a linear"),
        (
            {f"{Q.replace('0', '7')}.lora_{part}.weight": torch.ones(4, 4) for part in "AB"},
            r"layers\.7\.self_attn\.q_proj: tiny has no such modules\. The adapter belongs to another base",
        ),
        (
            {f"base_model.model.lm_head.lora_{part}.weight": torch.ones(4, 4) for part in "AB"},
            r"it adapts lm_head\. Adapted embeddings and heads are not supported",
        ),
        (
            {f"base_model.model.model.norm.lora_{part}.weight": torch.ones(4, 4) for part in "AB"},
            r"model\.norm: only additions to .*self_attn\.q_proj.* are supported",
        ),
        ({"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(4, 4)}, r"lora_embedding_A: not a part"),
        ({"base_model.model.lm_head.weight": torch.ones(4, 4)}, r"its tensor base_model\.model\.lm_head\.weight: not"),
        ({"../../escape": torch.ones(1)}, r"its tensor \.\./\.\./escape: not a part of a LoRA"),
    ],
)
def test_tensors_that_are_refused(
    folder: Path, base: Checkpoint, tensors: dict[str, torch.Tensor | None], message: str
) -> None:
    replace_tensors(folder, tensors)
    with pytest.raises(BadInput, match=message):
        open_adapter(folder, base)


def test_files_that_are_refused(folder: Path, base: Checkpoint, tmp_path: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    content = weights.read_bytes()
    for damaged in (content[:-10], content[:50], b"", struct.pack("<Q", 1 << 62) + content[8:]):
        weights.write_bytes(damaged)
        with pytest.raises(BadInput, match=r"cut short or damaged"):
            open_adapter(folder, base)
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(BadInput, match=r"a pickle, which can run code"):
        open_adapter(folder, base)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(BadInput, match=r"no adapter_model\.safetensors there"):
        open_adapter(folder, base)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(BadInput, match=r"no adapter_model\.safetensors there"):
        open_adapter(folder, base)
    weights.write_bytes(content)
    with pytest.raises(BadInput, match=r"not JSON"):
        open_adapter(folder, base)
    with pytest.raises(BadInput, match=r"no such folder"):
        open_adapter(tmp_path / "nothing", base)
    with pytest.raises(BadInput, match=r"no adapter_config\.json there"):
        open_adapter(base.path, base)
    with pytest.raises(BadInput, match=r"this is a file"):
        open_adapter(weights, base)
