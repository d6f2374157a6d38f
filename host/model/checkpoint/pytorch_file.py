"""PyTorch's own weight files (.bin): tensors only, mapped; nothing in them is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smoothdroid.device.common.errors import BadInput

TORCH_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.bool: "BOOL",
}


def load(file: Path) -> dict[str, Tensor]:
    """Return the tensors of the file, by name; their pages are read when they are used.

    Raises BadInput where it holds anything else, or is damaged.
    """
    serialization: Any = torch.serialization
    try:
        # With weights_only, torch builds tensors and nothing else: what would call code is an error.
        content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except serialization.pickle.UnpicklingError as error:
        raise BadInput(
            f"{file}: holds more than tensors, and loading that could run code: it is not read. Give the checkpoint as "
            "safetensors."
        ) from error
    except (RuntimeError, OSError, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(
            f"{file}: cut short, damaged, or in torch's format from before 1.6: {str(error).splitlines()[0]}. Fetch "
            "the file again, or give the checkpoint as safetensors."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise BadInput(f"{file}: not a table of tensors. Give the weights of a model, not of a training run.")
    return content


def header(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return each tensor's type, as safetensors names it, and shape, by name. Raises BadInput as `load` does."""
    return {
        name: (TORCH_NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in load(file).items()
    }
