"""The adapter_config.json of a PEFT adapter: what is supported, and what is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import ADAPTER_FILE
from smoothdroid.host.model.checkpoint.json_file import read_object

MOST_RANK = 1 << 14
"""Far above any adapter's rank: as wide as the widest models."""

# Keys that do not change what the adapter computes: training, bookkeeping, and where it was attached, which the
# tensors' names tell.
IGNORED = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config", "exclude_modules"),
        *("inference_mode", "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core"),
        *("parent_library", "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config"),
        *("target_modules", "task_type"),
    }
)
READ = frozenset({"alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "r", "rank_pattern", "use_rslora"})

# What PEFT calls them, and what they are.
REFUSED: Mapping[str, str] = {
    "alora_invocation_tokens": "an activated LoRA, which begins to act at a token",
    "fan_in_fan_out": "an adapter of transposed linears (GPT-2's)",
    "layer_replication": "an adapter that repeats layers of the base",
    "lora_bias": "an adapter that trained biases",
    "modules_to_save": "an adapter with whole modules of its own",
    "target_parameters": "an adapter of fused experts",
    "trainable_token_indices": "an adapter with embeddings of its own for some tokens",
    "use_bdlora": "a block-diagonal LoRA",
    "use_dora": "a DoRA adapter, which llama.cpp cannot hold (merge it with peft: merge_and_unload)",
    "use_qalora": "a QA-LoRA",
}

# Ways to begin that leave the base as it is. The others (pissa, olora, corda, loftq, lora_ga, ...) subtract something
# from the base first, so that the adapter belongs to that other base.
HARMLESS_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class PeftConfig:
    """The settings of a LoRA adapter that decide what it computes."""

    file: Path
    base: str | None
    """The adapter's own name for the model that it was trained on."""
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's adapter."""
        return int(_of(module, self.rank_pattern, self.rank))

    def scale_of(self, module: str) -> float:
        """Return the factor of B A: alpha / rank, or with rsLoRA alpha / sqrt(rank)."""
        rank = self.rank_of(module)
        return _of(module, self.alpha_pattern, self.alpha) / (math.sqrt(rank) if self.rank_stabilised else rank)


def read_config(folder: Path) -> PeftConfig:
    """Read `folder`/adapter_config.json. Raises BadInput where it is no LoRA's, or asks for what is not supported."""
    file = folder / ADAPTER_FILE
    content = read_object(file)
    kind = content.get("peft_type")
    if kind != "LORA":
        raise BadInput(f"{file}: its peft_type is {kind!r}. Only LoRA adapters (LORA) can be used.")
    _refuse(file, content)
    base = content.get("base_model_name_or_path")
    return PeftConfig(
        file=file,
        base=base if isinstance(base, str) and base else None,
        rank=_rank(file, "r", content.get("r")),
        alpha=_alpha(file, "lora_alpha", content.get("lora_alpha")),
        rank_pattern={key: _rank(file, key, value) for key, value in _pattern(file, content, "rank_pattern").items()},
        alpha_pattern={
            key: _alpha(file, key, value) for key, value in _pattern(file, content, "alpha_pattern").items()
        },
        rank_stabilised=content.get("use_rslora") is True,
    )


def _refuse(file: Path, content: Mapping[str, Any]) -> None:
    """Raise BadInput where a setting asks for what is not supported."""
    for key, what in REFUSED.items():
        if content.get(key):
            shown = f" {content[key]}"[:80] if isinstance(content[key], list) else ""
            raise BadInput(f"{file}: {key}{shown}: this is {what}, which is not supported.")
    if content.get("bias", "none") != "none":
        raise BadInput(f"{file}: bias is {content['bias']!r}: an adapter that trained biases is not supported.")
    start = content.get("init_lora_weights")
    if start not in HARMLESS_STARTS:
        raise BadInput(
            f"{file}: init_lora_weights is {start!r}: such an adapter belongs to a base that was changed when training "
            "began. Save it with peft's save_pretrained(path_initial_model_for_weight_conversion=...), which converts "
            "it to an adapter of the unchanged base."
        )
    known = IGNORED | READ | REFUSED.keys()
    if unknown := sorted(key for key, value in content.items() if key not in known and value):
        raise BadInput(
            f"{file}: {unknown[0]} is not a setting that is known here, and it may change what the adapter computes. "
            "Merge the adapter with peft (merge_and_unload), and prepare the merged model."
        )


def _pattern(file: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a table from names, or ends of names, of modules. PEFT takes regular expressions, of which only ^ is."""
    pattern = content.get(key) or {}
    if not isinstance(pattern, dict):
        raise BadInput(f"{file}: {key} is not a table of modules.")
    for name in pattern:
        if not all(character.isalnum() or character in "._" for character in name.removeprefix("^")):
            raise BadInput(f"{file}: {key} has the regular expression {name!r}; only names of modules are supported.")
    return pattern


def _of(module: str, pattern: Mapping[str, float], default: float) -> float:
    """Return the first entry whose name is the module's, or its last part."""
    for name, value in pattern.items():
        if module == name.removeprefix("^") or (not name.startswith("^") and module.endswith(f".{name}")):
            return value
    return default


def _rank(file: Path, key: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= MOST_RANK:
        raise BadInput(f"{file}: the rank {key} is {value!r}: it must be a whole number from 1 to {MOST_RANK}.")
    return value


def _alpha(file: Path, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value == 0:
        raise BadInput(f"{file}: the alpha {key} is {value!r}: it must be a number other than 0.")
    return float(value)
