"""A prepared GGUF's weights by the names, the order of rows and the values of its checkpoint.

llama.cpp has names of its own, orders the rows of q and k for its kind of rope, stacks experts, and stores a norm's
factor where Gemma's checkpoints store the factor less one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from torch import Tensor

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.reader import GgufFile, reading
from smoothdroid.host.model.adapter.peft_folder import LowRank
from smoothdroid.host.model.adapter.prepared_base import PreparedBase
from smoothdroid.host.model.checkpoint.weights import PART_ROWS, Weights
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING, HEAD, architecture_of
from smoothdroid.host.model.smoothquant.folds import Sizes, residual_stream
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange, TensorChanges

_EXPERT = re.compile(r"(\.experts\.)(\d+)\.")
_QUERIES_OR_KEYS = re.compile(r"blk\.\d+\.attn_(?P<which>[qk])\.(weight|bias)")

# The architectures of whose q and k llama.cpp's converter makes neighbours of the numbers that rope rotates together
# (`undo_permute` in its conversion/llama.py). A wrong entry makes the proof fail, and nothing else.
REORDERED = ("llama", "granite", "mistral3", "smollm3")

# A gain this small, relative to the largest, is taken for this large when it is undone: by 0 nothing can be divided.
SMALLEST_GAIN = 1e-6


class GgufTensors:
    """The tensors of a GGUF, by the names and in the form of its checkpoint, float32."""

    def __init__(self, base: PreparedBase, sizes: Sizes) -> None:
        """Open the GGUF of `base`; no tensor is read yet. Raises BadInput where gguf-py does not know its names."""
        self._base, self._sizes = base, sizes
        self._row = architecture_of(base.checkpoint.architecture)
        self._gguf = GgufFile(base.path)
        self._tensors = {tensor.name: tensor for tensor in self._gguf.tensors}
        known = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
        if self._gguf.architecture not in known:
            raise BadInput(f"{base.path}: gguf-py does not know the architecture {self._gguf.architecture!r}.")
        self._names = gguf.get_tensor_name_map(known[self._gguf.architecture], sizes.n_layers)

    def name(self, name: str) -> str:
        """Return the name in the GGUF of the checkpoint's tensor `name`. Raises BadInput where it has none."""
        if name == f"{HEAD}.weight" and "output.weight" not in self._tensors:
            name = f"{EMBEDDING}.weight"  # a tied head
        mapped = self._names.get_name(_EXPERT.sub(r"\1", name), try_suffixes=(".weight", ".bias"))
        if mapped is None or mapped not in self._tensors:
            raise BadInput(f"{self._base.path}: the tensor for {name} is not there.")
        return mapped

    def read(self, name: str, rows: slice | Tensor = slice(None)) -> Tensor:
        """Return the checkpoint's tensor `name`, or some of its rows."""
        stored = self._tensors[self.name(name)]
        with reading(self._base.path):
            data = stored.data
            if expert := _EXPERT.search(name):
                data = data[int(expert[2])]
            if permuted := self._permuted(name):
                return permuted(_tensor(dequantize(data, stored.tensor_type)))[rows]
            part = data[rows.numpy() if isinstance(rows, Tensor) else rows]
            tensor = _tensor(dequantize(part, stored.tensor_type))
        return tensor - self._row.norm_offset if name.endswith("norm.weight") else tensor

    def in_order(self, name: str, rows: Tensor) -> Tensor:
        """Return `rows`, ordered as those of the GGUF's tensor, in the order of the checkpoint's tensor `name`."""
        permuted = self._permuted(name)
        return permuted(rows) if permuted else rows

    def _permuted(self, name: str) -> Callable[[Tensor], Tensor] | None:
        match = _QUERIES_OR_KEYS.fullmatch(self.name(name))
        if match is None or self._gguf.architecture not in REORDERED:
            return None
        return partial(_halves, heads=self._sizes.n_heads if match["which"] == "q" else self._sizes.n_kv_heads)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))  # a copy: the file is mapped read-only


def _halves(rows: Tensor, heads: int) -> Tensor:
    """Order the rows of each head, in which neighbours are a pair, as its first halves and then its second."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


class BaseWeights(Weights):
    """The weights of a prepared GGUF as a checkpoint's: with its changes, or `undone`, and an adapter added."""

    def __init__(
        self, base: PreparedBase, tensors: GgufTensors, sizes: Sizes, adapter: Mapping[str, LowRank], *, undone: bool
    ) -> None:
        """Take the tensors of the GGUF and the adapter by modules' names; nothing is read yet.

        `undone`: the weights as they were before the changes, up to the GGUF's own rounding.
        """
        super().__init__(base.checkpoint)
        self._tensors, self._adapter = tensors, adapter
        self._undone = {name: _undoable(change) for name, change in base.changes.items()} if undone else {}
        self._gains = _gains(base, sizes, self._undone)

    def read(self, name: str, dtype: torch.dtype | None = torch.float32) -> Tensor:
        """Return the tensor, as `Weights.read`."""
        return self.rows(name, slice(None)).to(dtype or torch.float32)

    def rows(self, name: str, which: slice | Tensor) -> Tensor:
        """Return some rows of `read(name)`, as `Weights.rows`."""
        if name in self._gains:
            return self._gains[name]
        tensor = self._tensors.read(name, which).float()
        if name in self._undone:
            tensor = self._undone[name].undo(tensor)
        module = name.removesuffix(".weight")
        return tensor + self._adapter[module].product if module in self._adapter else tensor

    def lazy_parts(self, name: str) -> list[Callable[[], Tensor]]:
        """Return functions that read the parts, as `Weights.lazy_parts`."""
        starts = range(0, self.shape(name)[0], PART_ROWS)
        return [partial(self.rows, name, slice(start, start + PART_ROWS)) for start in starts]


def _undoable(change: TensorChange) -> TensorChange:
    """Return the change with no gain of 0: such a channel carries nothing, and a small one carries next to nothing."""
    if change.gain is None:
        return change
    least = SMALLEST_GAIN * change.gain.abs().max()
    return replace(change, gain=torch.where(change.gain.abs() < least, least, change.gain))


def _gains(base: PreparedBase, sizes: Sizes, undone: TensorChanges) -> dict[str, Tensor]:
    """Return the weights that norms had before their readers took them in, by the norms' names."""
    norms = {name for name, change in undone.items() if change.ones}
    if not norms:
        return {}
    stream = residual_stream(base.checkpoint.architecture, sizes)
    gains: dict[str, Tensor] = {}
    for norm, readers in stream.readers.items():
        gain = undone[f"{readers[0]}.weight"].gain
        if f"{norm}.weight" in norms and gain is not None:
            gains[f"{norm}.weight"] = gain - stream.norm_offset
    return gains
