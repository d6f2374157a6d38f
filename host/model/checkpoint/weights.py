"""A checkpoint's tensors, read one at a time, checked, and changed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.pytorch_file import load
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING, HEAD
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChanges

# A head of 128,000 rows is 2 GB in float32: it is gone through in parts.
PART_ROWS = 8192

TIED = {f"{HEAD}.weight": f"{EMBEDDING}.weight"}
"""The tensor that stands in for one that is not in the checkpoint: a tied head is the embedding."""


class Weights:
    """The tensors of a checkpoint, with `changes` made as they are read.

    Files are mapped only while a tensor is read: pages that stay mapped count as this process's memory.
    """

    def __init__(self, checkpoint: Checkpoint, changes: TensorChanges | None = None) -> None:
        """Take the tensors of the checkpoint; none is read yet."""
        self.checkpoint = checkpoint
        self.changes: TensorChanges = changes or {}
        self._places: Mapping[str, Path] = {
            name: file for file, names in checkpoint.tensors_by_file.items() for name in names
        }

    def read(self, name: str, dtype: torch.dtype | None = torch.float32) -> Tensor:
        """Return the tensor changed; `dtype` None leaves an unchanged one as it is stored.

        Raises BadInput where it holds what is no finite number.
        """
        place = self._place(name)
        with self._mapped(place) as stored:
            require_finite(f"{self.checkpoint.path}: {place}", stored)
            change = self.changes.get(name)
            # A copy either way, so that nothing keeps the file mapped.
            return (
                change.apply(stored).to(dtype or torch.float32)
                if change
                else stored.to(dtype or stored.dtype, copy=True)
            )

    def rows(self, name: str, which: slice | Tensor) -> Tensor:
        """Return some rows of `read(name)`, float32; only they are read. Not for a tensor whose rows are changed."""
        place = self._place(name)
        with self._mapped(place) as whole:
            stored = whole[which]
            require_finite(f"{self.checkpoint.path}: {place}", stored)
            change = self.changes.get(name)
            # A copy either way, so that nothing keeps the file mapped.
            return change.apply(stored).float() if change else stored.to(torch.float32, copy=True)

    def parts(self, name: str) -> Iterator[Tensor]:
        """Yield `read(name)` some rows at a time. Not for a tensor whose rows are changed."""
        for part in self.lazy_parts(name):
            yield part()

    def lazy_parts(self, name: str) -> list[Callable[[], Tensor]]:
        """Return functions that read the parts of `parts(name)`."""
        starts = range(0, self.shape(name)[0], PART_ROWS)
        return [partial(self.rows, name, slice(start, start + PART_ROWS)) for start in starts]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the tensor's shape."""
        return self.checkpoint.tensors[self._place(name)].shape

    def _mapped(self, place: str) -> AbstractContextManager[Tensor]:
        return _mapped(self._places[place], self.checkpoint.stored_names.get(place, place))

    def _place(self, name: str) -> str:
        return name if name in self._places else TIED.get(name, name)


@contextmanager
def _mapped(file: Path, name: str) -> Iterator[Tensor]:
    """Yield a tensor as it is stored, mapped from its file."""
    if file.suffix == ".bin":
        yield load(file)[name]
        return
    with safe_open(file, framework="pt") as opened:
        yield opened.get_tensor(name)


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise BadInput where the tensor holds a NaN or an infinity."""
    # The extremes, because they are NaN where any value is, and take no memory as tensor.isfinite() does.
    if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
        n_wrong = int((~tensor.isfinite()).sum())
        raise BadInput(
            f"{name} holds {n_wrong} values of {tensor.numel()} that are no finite numbers (NaN or Inf). Fetch the "
            "checkpoint again, or ask who made it."
        )
