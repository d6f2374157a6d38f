"""Save a checkpoint with changes made, for transformers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.staging import make_readable, stage_companions
from smoothdroid.host.model.checkpoint.weight_files import INDEX_FILE
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.architectures import HEAD
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChanges


def unties(checkpoint: Checkpoint, changes: TensorChanges) -> bool:
    """Return whether the changes give a head that was tied to the embedding a tensor of its own."""
    return f"{HEAD}.weight" in changes and f"{HEAD}.weight" not in checkpoint.tensors


def save_changed(checkpoint: Checkpoint, folder: Path, changes: TensorChanges) -> Path:
    """Make `folder` the checkpoint with the changes made, for transformers; returns it.

    A model that also reads images is saved as its text part alone. Changed tensors are written as float32, the others
    as they are; one weight file is in memory at a time.
    """
    folder.mkdir()
    untied = unties(checkpoint, changes)
    weights = Weights(checkpoint, changes)
    index: dict[str, str] = {}
    total = 0
    for file, names in checkpoint.tensors_by_file.items():
        wanted = sorted(names)
        if untied and file == checkpoint.weight_files[-1]:
            wanted.append(f"{HEAD}.weight")
        tensors: dict[str, Tensor] = {name: weights.read(name, _dtype(name, changes)) for name in wanted}
        name = file.with_suffix(".safetensors").name.replace("pytorch_model", "model")
        save_file(tensors, folder / name, metadata={"format": "pt"})
        make_readable(folder / name)  # safetensors makes it 0600
        index.update(dict.fromkeys(wanted, name))
        total += sum(tensor.nbytes for tensor in tensors.values())
    if checkpoint.index_file:
        content = {"metadata": {"total_size": total}, "weight_map": index}
        (folder / INDEX_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    tied = f"{HEAD}.weight" not in checkpoint.tensors and not untied
    stage_companions(checkpoint, folder, tied=tied)
    if checkpoint.stored_names:  # what is saved is the text part, a model of its own
        config = {**checkpoint.config, "tie_word_embeddings": tied}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def _dtype(name: str, changes: TensorChanges) -> torch.dtype | None:
    return torch.float32 if name in changes else None
