"""A torch mode in which code that requests float32 is computed in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# The functions that convert; those that read bytes as float32 are left alone, as the bytes of a file stay.
CONVERTING = (Tensor.to, Tensor.type, Tensor.softmax, torch.softmax, functional.softmax, torch.full_like)

GROUPED_MM: Any = getattr(torch, "_grouped_mm", None)
"""The product that transformers computes all experts with, which has no float64; older torch has none at all."""


class InFloat64(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
    """A context in which code that requests float32 of torch gets float64.

    transformers computes norms and softmax in float32 whatever the weights are in, so that float64 weights alone would
    still be rounded there.
    """

    def __torch_function__(
        self, func: Callable[..., Any], _types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - whatever torch's function gives
        """Call torch's function, with float64 in the place of float32 where it converts."""
        if func is Tensor.float:
            return Tensor.double(*args, **(kwargs or {}))
        if func is GROUPED_MM:
            return _grouped_mm(*args, **(kwargs or {}))
        named = kwargs or {}
        if func in CONVERTING:
            args, named = tuple(map(_wide, args)), {key: _wide(value) for key, value in named.items()}
        return func(*args, **named)


def _wide(argument: Any) -> Any:  # noqa: ANN401 - any argument of torch's
    return torch.float64 if argument is torch.float32 else argument


def _grouped_mm(rows: Tensor, matrices: Tensor, *, offs: Tensor, **_options: object) -> Tensor:
    """Multiply rows [tokens, in], cut at `offs`, each part by its own matrix [experts, in, out]."""
    parts = torch.tensor_split(rows, offs[:-1].cpu().long())
    return torch.cat([part @ matrix for part, matrix in zip(parts, matrices, strict=True)])
