"""The model as transformers runs it, in float32 on the CPU: loading it, and its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from device.errors import BadInput

# What transformers raises on a checkpoint that it cannot make sense of; it has no exception of its own.
LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the checkpoint in `folder`. Raises BadInput."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except LOADING_ERRORS as error:
        raise BadInput(f"{folder.name}: transformers cannot load its tokenizer: {error}") from error
    return cast(PreTrainedTokenizerBase, tokenizer)


def load_model(folder: Path) -> torch.nn.Module:
    """The causal language model of the checkpoint in `folder`, float32, ready to run.

    Raises BadInput where it does not load or where weights are missing: transformers would go on with random
    ones.
    """
    library: Any = transformers  # its annotations do not say what output_loading_info returns
    progress_bars = library.utils.logging.is_progress_bar_enabled()
    library.utils.logging.disable_progress_bar()  # a library does not draw on the user's terminal
    try:
        model, report = library.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except LOADING_ERRORS as error:
        raise BadInput(f"{folder.name}: transformers cannot load the model: {error}") from error
    finally:
        if progress_bars:
            library.utils.logging.enable_progress_bar()
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BadInput(
            f"{folder.name}: {len(missing)} of the model's tensors are not in its weight files, "
            f"{missing[0]} among them. Fetch the checkpoint again."
        )
    return cast(torch.nn.Module, model.eval())


@torch.inference_mode()
def logits(model: torch.nn.Module, windows: Tensor) -> Tensor:
    """Logits [windows, tokens, vocabulary] for token ids [windows, tokens]; one window at a time."""
    return torch.cat([model(input_ids=window[None], use_cache=False).logits for window in windows])
