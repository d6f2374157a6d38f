"""Checkpoints as transformers loads them: the model without its weights, and the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import PreTrainedTokenizerBase

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.tensor_names import missing_advice
from smoothdroid.host.model.smoothquant.architectures import HEAD, LAYER, architecture_of
from smoothdroid.host.model.smoothquant.folds import fill

LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    ArithmeticError,  # numbers of heads that are 0
    StrictDataclassError,  # values of another type than the config's
)
"""The errors that transformers raises for a checkpoint that it cannot load; it has no exception of its own."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the checkpoint in `folder`. Raises BadInput where transformers cannot."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except LOADING_ERRORS as error:
        raise BadInput(f"{folder.name}: transformers cannot load its tokenizer: {error}") from error
    return cast(PreTrainedTokenizerBase, tokenizer)


def empty_model(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """Return (the model without memory for its weights, its config). Raises BadInput where config.json makes none."""
    file = checkpoint.path / "config.json"
    n_layers = checkpoint.config.get("num_hidden_layers")
    # Every layer has tensors: a larger number would have us make layers until the memory is full.
    if type(n_layers) is not int or not 1 <= n_layers <= len(checkpoint.tensors):
        raise BadInput(
            f"{file}: num_hidden_layers is {n_layers!r}, which does not fit the {len(checkpoint.tensors)} tensors in "
            "the weight files."
        )
    library: Any = transformers
    settings = {key: value for key, value in checkpoint.config.items() if key != "auto_map"}
    try:
        config = library.CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
        with torch.device("meta"):  # tensors with a shape and no memory
            model = library.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if type(model).__name__ != checkpoint.architecture:
            raise ValueError(f"a model_type of {config.model_type!r} makes a {type(model).__name__}")
        # Buffers (rotary frequencies, Gemma's embedding scale) are in no checkpoint: transformers computes them.
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, torch.empty_like(buffer, device="cpu"))
        model.initialize_weights()
    except LOADING_ERRORS as error:
        raise BadInput(f"{file}: transformers can make no model of it: {_first_lines(error)}") from error
    return model.eval(), config


def require_shapes(checkpoint: Checkpoint, model: Any) -> None:  # noqa: ANN401 - transformers' own
    """Raise BadInput where a tensor that the model has is missing in the checkpoint, or has another shape."""
    tied = f"{HEAD}.weight" if model.config.tie_word_embeddings else None
    for name, expected in _expected(checkpoint, model):
        stored = checkpoint.tensors.get(name)
        if stored is None and name == tied:
            continue
        if stored is None:
            raise BadInput(f"{checkpoint.path}: {missing_advice(name, checkpoint.tensors)}")
        if stored.shape != expected:
            raise BadInput(
                f"{checkpoint.path}: {name} has the shape {list(stored.shape)}, and by config.json it is "
                f"{list(expected)}. They do not belong together; fetch the checkpoint again."
            )


def _expected(checkpoint: Checkpoint, model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (name, shape) of each tensor that the checkpoint of this model must have."""
    renamed = architecture_of(checkpoint.architecture).renamed
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        inner = next((inner for inner in renamed if name.endswith(f".{inner}")), None)
        if inner is None:
            yield name, shape
            continue
        layer = int(name.removesuffix(inner).split(".")[-2])
        for part in renamed[inner]:
            if "{expert}" in part:  # stacked, and with it the parts put side by side
                for each in fill(LAYER + part, layer, range(shape[0])):
                    yield each, (shape[1] // len(renamed[inner]), *shape[2:])
            else:
                yield (LAYER + part).format(layer=layer), shape


def _first_lines(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[:2])
