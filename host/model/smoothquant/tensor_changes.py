"""The changes that folds and rotation make to each tensor, by names and numbers alone.

The changes cross over to the converter's process in a safetensors file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from smoothdroid.host.model.smoothquant.architectures import EMBEDDING
from smoothdroid.host.model.smoothquant.folds import Fold, ResidualStream
from smoothdroid.host.model.smoothquant.formulas import divide_last_rows, multiply_columns, repeat_over_shared_heads
from smoothdroid.host.model.smoothquant.rotation import Rotation

RotatedAxis = Literal["columns", "rows"]

CHANGES_KEY = "changes"
"""The key of a file's metadata that holds what is no tensor; a file without it holds no changes."""

VECTORS = ("gain", "columns", "rows")
"""The fields of a change that are tensors."""


@dataclass(frozen=True)
class TensorChange:
    """The changes to one tensor, made in this order. Everything is float32, rounded once, when it is quantised.

    `gain` [in]: the norm's weight that its reader takes in, where the stream is rotated. `rotated_axis`: columns of
    a reader or of the embedding, rows of a writer. `columns` [in]: scales multiplied in. `rows` [n]: the last
    n rows divided. `ones`: a norm whose weight its readers have taken in. `offset`: the value less what is stored.
    """

    gain: Tensor | None = None
    rotated_axis: RotatedAxis | None = None
    rotation: Rotation | None = None
    columns: Tensor | None = None
    rows: Tensor | None = None
    ones: bool = False
    offset: float = 0.0

    def apply(self, tensor: Tensor) -> Tensor:
        """Return the tensor changed, in float32. The tensor itself stays as it was."""
        if self.ones:
            tensor = torch.full_like(tensor, 1 - self.offset, dtype=torch.float32)
        if self.gain is not None:
            tensor = multiply_columns(tensor, self.gain)
        if self.rotation is not None and self.rotated_axis == "columns":
            tensor = self.rotation.rotate_columns(tensor)
        if self.rotation is not None and self.rotated_axis == "rows":
            tensor = self.rotation.rotate_rows(tensor)
        if self.columns is not None:
            tensor = multiply_columns(tensor, self.columns)
        return tensor if self.rows is None else divide_last_rows(tensor, self.rows, self.offset)

    def undo(self, changed: Tensor) -> Tensor:
        """Return the tensor as it was before `apply`, float32 and up to its rounding.

        Raises ValueError for a norm whose weight its readers have taken in: it is in their `gain`.
        """
        if self.ones:
            raise ValueError("the weight of this norm is in its readers")
        tensor = changed.float()
        if self.rows is not None:
            tensor = divide_last_rows(tensor, 1 / self.rows, self.offset)
        if self.columns is not None:
            tensor = multiply_columns(tensor, 1 / self.columns)
        if self.rotation is not None and self.rotated_axis == "columns":
            tensor = self.rotation.rotate_columns(tensor, back=True)
        if self.rotation is not None and self.rotated_axis == "rows":
            tensor = self.rotation.rotate_rows(tensor, back=True)
        return tensor if self.gain is None else multiply_columns(tensor, 1 / self.gain)

    def of_columns(self) -> TensorChange:
        """Return the part that changes columns, which is what A [rank, in] of an addition B A to the tensor takes."""
        rotated = self.rotated_axis == "columns"
        return TensorChange(
            gain=self.gain,
            rotated_axis=self.rotated_axis if rotated else None,
            rotation=self.rotation if rotated else None,
            columns=self.columns,
        )

    def of_rows(self) -> TensorChange:
        """Return the part that changes rows, which is what B [out, rank] of an addition B A to the tensor takes."""
        rotated = self.rotated_axis == "rows"
        return TensorChange(
            rotated_axis=self.rotated_axis if rotated else None,
            rotation=self.rotation if rotated else None,
            rows=self.rows,
        )


TensorChanges = Mapping[str, TensorChange]
"""The change of each tensor by name. Tensors that are not listed stay as they are."""


def fold_changes(
    scales: Mapping[Fold, Tensor], tensors: Collection[str], rotated: TensorChanges | None = None
) -> TensorChanges:
    """Return the changes by the folds, on top of `rotated`. `tensors`: the checkpoint's, to know which biases exist.

    A tensor is the source of one fold at most and a reader in one at most, and dividing rows and multiplying
    columns are done in either order.
    """
    changed: dict[str, TensorChange] = dict(rotated or {})
    for fold, scale in scales.items():
        for name in touched(fold, tensors):
            change = changed.get(name, TensorChange())
            if name.rpartition(".")[0] == fold.source:
                changed[name] = replace(change, rows=scale, offset=fold.source_offset)
            else:
                columns = repeat_over_shared_heads(scale, fold.n_heads, fold.n_kv_heads)
                changed[name] = replace(change, columns=columns)
    return changed


def touched(fold: Fold, tensors: Collection[str]) -> list[str]:
    """Return the names of the tensors that the fold changes: weights, and the source's bias where it has one.

    A bias of the source is added before the readers see it, so it is divided; one of a reader comes after, and stays.
    """
    bias = f"{fold.source}.bias"
    return [
        *(f"{module}.weight" for module in (fold.source, *fold.readers)),
        *([bias] if bias in tensors else []),
    ]


def rotation_changes(
    stream: ResidualStream, rotation: Rotation, norms: Mapping[str, Tensor], tensors: Collection[str]
) -> TensorChanges:
    """Return the changes by rotating the residual stream. `norms`: the norms' weights as they are stored.

    The head gets a tensor of its own where it was tied to the embedding: the two no longer hold the same.
    """
    changed: dict[str, TensorChange] = {f"{EMBEDDING}.weight": TensorChange(rotated_axis="columns", rotation=rotation)}
    for norm, readers in stream.readers.items():
        gain = norms[f"{norm}.weight"].float() + stream.norm_offset
        changed[f"{norm}.weight"] = TensorChange(ones=True, offset=stream.norm_offset)
        for reader in readers:
            changed[f"{reader}.weight"] = TensorChange(gain=gain, rotated_axis="columns", rotation=rotation)
    for writer in stream.writers:
        for name in (f"{writer}.weight", f"{writer}.bias"):
            if name in tensors:
                changed[name] = TensorChange(rotated_axis="rows", rotation=rotation)
    return changed


def save_changes(changes: TensorChanges, file: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the changes to a safetensors file, with `metadata` of the caller's beside them.

    A tensor that several changes share, as the scales of a fold are, is stored once.
    """
    tensors: dict[str, Tensor] = {}
    places: dict[tuple[int, int], str] = {}
    plain: dict[str, dict[str, object]] = {}
    for name, change in changes.items():
        plain[name] = {"rotated_axis": change.rotated_axis, "ones": change.ones, "offset": change.offset}
        if change.rotation:
            plain[name]["rotation"] = {"size": change.rotation.size, "seed": change.rotation.seed}
        stored: dict[str, str] = {}
        for field in VECTORS:
            value = getattr(change, field)
            if value is not None:
                stored[field] = places.setdefault((value.data_ptr(), value.numel()), f"{name}|{field}")
                tensors[stored[field]] = value.contiguous().clone()  # safetensors refuses memory that is shared
        plain[name]["stored"] = stored
    save_file(tensors, file, metadata={**(metadata or {}), CHANGES_KEY: json.dumps(plain)})


def load_changes(file: Path) -> TensorChanges:
    """Read the changes that `save_changes` wrote. Raises KeyError, TypeError or ValueError for other content."""
    changes: dict[str, TensorChange] = {}
    rotations: dict[tuple[int, int], Rotation] = {}
    with safe_open(file, framework="pt") as opened:
        for name, plain in json.loads((opened.metadata() or {}).get(CHANGES_KEY, "{}")).items():
            vectors = {field: opened.get_tensor(place) for field, place in plain.pop("stored").items()}
            if rotation := plain.pop("rotation", None):
                key = (rotation["size"], rotation["seed"])
                plain["rotation"] = rotations.setdefault(key, Rotation(*key))  # one, so that its factors are made once
            changes[name] = TensorChange(**plain, **vectors)
    return changes
