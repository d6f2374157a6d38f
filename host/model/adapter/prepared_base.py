"""The base of an adapter: a GGUF that `prepare` made, with the changes that were made to its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.model.checkpoint.description import described
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.weight_files import read_safetensors_header
from smoothdroid.host.model.checkpoint.weights import TIED
from smoothdroid.host.model.provenance.inspect import inspect
from smoothdroid.host.model.provenance.manifest import changes_path
from smoothdroid.host.model.smoothquant.architectures import architecture_of
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange, TensorChanges, load_changes


@dataclass(frozen=True)
class PreparedBase:
    """A prepared GGUF, the checkpoint it was made of (described, without weights), and the changes between the two."""

    path: Path
    sha256: str
    checkpoint: Checkpoint
    changes: TensorChanges


def open_base(path: Path) -> PreparedBase:
    """Open the GGUF `path` and the file of changes beside it.

    Raises BadInput where the GGUF was not made by `prepare`, or where the changes are missing or of another file.
    """
    provenance = inspect(path).provenance
    if provenance is None:
        raise BadInput(
            f"{path}: it was not made by smoothdroid prepare, so it is not known what an adapter needs to fit it. "
            "Prepare the adapter's base, and give that file."
        )
    file = changes_path(path)
    if provenance.changes_sha256 is None:
        raise BadInput(f"{path}: an earlier version prepared it, without {file.name} beside it. Prepare it again.")
    if not file.is_file():
        raise BadInput(
            f"{file}: there is no such file, and it holds what was done to the tensors of {path.name}. Copy it from "
            "where the GGUF was prepared, or prepare it again."
        )
    if sha256_of(file) != provenance.changes_sha256:
        raise BadInput(f"{file}: it belongs to another preparation than {path.name}, or is damaged. Prepare it again.")
    checkpoint, changes = read_changes(file)
    architecture_of(checkpoint.architecture)
    return PreparedBase(path, sha256_of(path), checkpoint, changes)


def read_changes(file: Path) -> tuple[Checkpoint, TensorChanges]:
    """Return what a file of changes holds. Raises BadInput where that is not what `prepare` writes."""
    read_safetensors_header(file)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
        changes = load_changes(file)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{file}: it holds no changes of tensors ({error}). Prepare the model again.") from error
    checkpoint = described(metadata, file)
    for name, change in changes.items():
        _require_fit(file, name, change, checkpoint)
    return checkpoint, changes


def _require_fit(file: Path, name: str, change: TensorChange, checkpoint: Checkpoint) -> None:
    """Raise BadInput where a change is not one of this tensor: its vectors or its rotation have another size."""
    tensor = checkpoint.tensors.get(name) or checkpoint.tensors.get(TIED.get(name, ""))
    if tensor is None or not 1 <= len(tensor.shape) <= 2:
        raise BadInput(f"{file}: it changes {name}, which the model does not have. Prepare the model again.")
    n_rows, n_columns = tensor.shape[0], tensor.shape[-1]
    fits = all(
        (
            change.gain is None or tuple(change.gain.shape) == (n_columns,),
            change.columns is None or tuple(change.columns.shape) == (n_columns,),
            change.rows is None or (change.rows.dim() == 1 and len(change.rows) <= n_rows),
            change.rotation is None or change.rotation.size == (n_rows if change.rotated_axis == "rows" else n_columns),
        )
    )
    if not fits:
        raise BadInput(f"{file}: its change of {name} does not fit the tensor's shape. Prepare the model again.")
