"""A copy of a checkpoint that is safe to hand to a converter: data only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from host.model.changes import Changes
from host.model.checkpoint import INDEX_FILE, SINGLE_FILE, Checkpoint
from host.model.folds import EMBEDDING, HEAD
from host.model.weights import Weights


def unties(checkpoint: Checkpoint, changes: Changes) -> bool:
    """Do the changes give a head that was tied to the embedding a tensor of its own?"""
    return f"{HEAD}.weight" in changes and f"{HEAD}.weight" not in checkpoint.tensors


def stage(checkpoint: Checkpoint, folder: Path, *, untied: bool = False) -> Path:
    """Make `folder` a checkpoint of the same weights (by link) and companion files; returns it.

    Left behind: Python files, and the `auto_map` that asks for them. llama.cpp's converter loads some
    tokenizers with trust_remote_code=True, so a checkpoint could have its code run. `untied`: config.json says that
    the head has a tensor of its own.
    """
    folder.mkdir()
    for weights in checkpoint.weight_files:
        (folder / weights.name).symlink_to(weights)
    if [file.name for file in checkpoint.weight_files] != [SINGLE_FILE]:
        shutil.copyfile(checkpoint.path / INDEX_FILE, folder / INDEX_FILE)
    _stage_companions(checkpoint, folder, untied=untied)
    return folder


def save_changed(checkpoint: Checkpoint, folder: Path, changes: Changes) -> Path:
    """Make `folder` the checkpoint with the changes made, for transformers; returns it.

    Changed tensors are written as float32, the others as they are; one weight file in memory at a time.
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
        save_file(tensors, folder / file.name, metadata={"format": "pt"})
        (folder / file.name).chmod(0o644)  # safetensors makes it 0600
        index.update(dict.fromkeys(wanted, file.name))
        total += sum(tensor.nbytes for tensor in tensors.values())
    if [file.name for file in checkpoint.weight_files] != [SINGLE_FILE]:
        content = {"metadata": {"total_size": total}, "weight_map": index}
        (folder / INDEX_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _stage_companions(checkpoint, folder, untied=untied)
    return folder


def _dtype(name: str, changes: Changes) -> torch.dtype | None:
    return torch.float32 if name in changes else None


def changed_bytes(checkpoint: Checkpoint) -> int:
    """At most the disk space in bytes that `save_changed` takes: all float32, and a head of its own."""
    return 4 * (checkpoint.n_parameters + checkpoint.tensors[f"{EMBEDDING}.weight"].n_elements)


def _stage_companions(checkpoint: Checkpoint, folder: Path, *, untied: bool) -> None:
    for file in checkpoint.companion_files:
        shutil.copyfile(file, folder / file.name)
    _edit(folder / "tokenizer_config.json", {"auto_map": None})
    _edit(folder / "config.json", {"auto_map": None, **({"tie_word_embeddings": False} if untied else {})})


def _edit(file: Path, changes: dict[str, Any]) -> None:
    """Set these keys of a JSON file, where there is one; None takes a key out."""
    if not file.is_file():
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    after = {key: value for key, value in {**before, **changes}.items() if value is not None or key not in changes}
    if after != before:
        file.write_text(json.dumps(after, indent=2), encoding="utf-8")
