"""The settings and tensors of a GGUF, as torch reads them: one at a time, each checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import ReaderTensor
from gguf.quants import dequantize
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.reader import GgufFile, reading
from smoothdroid.host.model.arithmetic import Arithmetic

# Taking a matrix through its blocks needs some five times its memory: a head of 128,000 rows is done in parts.
ROWS_AT_ONCE = 4096

_QUANTISED = {Type.Q8_0: "q8_0", Type.Q4_0: "q4_0"}

# ggml multiplies these with activations of their own type (`vec_dot_type`) and adds in float32.
_PLAIN = {Type.F32: torch.float32, Type.F16: torch.float16, Type.BF16: torch.bfloat16}


@dataclass(frozen=True)
class Linear:
    """A linear under a kernel: float32 [..., in] in, float32 [..., out] out."""

    weight: Tensor
    bias: Tensor | None
    as_multiplied: Callable[[Tensor], Tensor]
    """The kernel's rounding of activations."""

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply activations [..., in] as the kernel does."""
        return linear(self.as_multiplied(x), self.weight, self.bias)


class GgufWeights:
    """A file's settings and tensors; the tensors stay on the disk until they are used.

    Raises BadInput for whatever in the file is missing, damaged or not of the expected shape.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check its header."""
        self.path = path
        self._gguf = GgufFile(path)
        self._tensors = {tensor.name: tensor for tensor in self._gguf.tensors}

    @property
    def settings(self) -> list[str]:
        """The names of the settings in the file."""
        return self._gguf.names

    @property
    def tensors(self) -> dict[str, str]:
        """The types of the tensors by name: `{"output.weight": "Q8_0"}`."""
        return {name: tensor.tensor_type.name for name, tensor in self._tensors.items()}

    def text(self, setting: str) -> str:
        """Return a setting that is a word."""
        value = self._gguf.value(setting)
        if not isinstance(value, str):
            raise BadInput(f"{self.path}: its {setting} is {value!r}: a word was expected.")
        return value

    def number(self, setting: str, default: float | None = None) -> float:
        """Return a setting that is a positive number; `default` where it is absent."""
        value = self._gguf.value(setting)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise BadInput(f"{self.path}: its {setting} is {value!r}: a positive number was expected.")
        return value

    def whole(self, setting: str, default: int | None = None) -> int:
        """Return a setting that is a positive whole number; `default` where it is absent."""
        return int(self.number(setting, default))

    @property
    def bos(self) -> int | None:
        """The token that begins a text, where the file names one."""
        value = self._gguf.value("tokenizer.ggml.bos_token_id")
        return value if isinstance(value, int) else None

    def length(self, name: str) -> int:
        """Return the number of rows of the matrix `name`."""
        return int(self._tensor(name).shape[-1])

    def vector(self, name: str, size: int) -> Tensor:
        """Return the tensor `name` [size], float32."""
        return self._dequantised(name, (size,), slice(None))

    def rows(self, name: str, which: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the rows `which` of the matrix `name` [shape], float32: a lookup, which no kernel rounds."""
        return self._dequantised(name, shape, which.numpy())

    def linear(self, name: str, shape: tuple[int, int], arithmetic: Arithmetic) -> Linear:
        """Return the linear of `name`.weight [out, in] and, where there is one, `name`.bias [out], under a kernel."""
        kind = self._tensor(f"{name}.weight", shape).tensor_type
        bias = self.vector(f"{name}.bias", shape[0]) if f"{name}.bias" in self._tensors else None
        quantisation = _QUANTISED.get(kind)
        if quantisation is None and kind not in _PLAIN:
            known = ", ".join(kind.name for kind in (*_QUANTISED, *_PLAIN))
            raise BadInput(
                f"{self.path}: {name}.weight is {kind.name}, whose arithmetic is not known here. There are {known}; "
                "llama-quantize --pure keeps to one type."
            )
        weight = torch.empty(shape)
        for start in range(0, shape[0], ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            stored = self._dequantised(f"{name}.weight", shape, part)
            weight[part] = arithmetic.weights(stored, quantisation) if quantisation else stored
        if quantisation:
            return Linear(weight, bias, lambda x: arithmetic.activations(x, quantisation))
        return Linear(weight, bias, lambda x: x.to(_PLAIN[kind]).float())

    def _tensor(self, name: str, shape: tuple[int, ...] | None = None) -> ReaderTensor:
        if name not in self._tensors:
            raise BadInput(f"{self.path}: the tensor {name} is not there.")
        there = tuple(int(length) for length in reversed(self._tensors[name].shape))
        if shape is not None and there != shape:
            raise BadInput(f"{self.path}: {name} is {list(there)}, and by its settings {list(shape)}.")
        return self._tensors[name]

    def _dequantised(self, name: str, shape: tuple[int, ...], part: slice | NDArray[np.int64]) -> Tensor:
        tensor = self._tensor(name, shape)
        with reading(self.path):
            # A copy: the file is mapped read-only, and torch shares what it is given.
            return torch.from_numpy(np.array(dequantize(tensor.data[part], tensor.tensor_type), np.float32))
