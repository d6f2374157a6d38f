"""A copy of a checkpoint that is safe to hand to a converter: data only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from host.model.checkpoint import Checkpoint
from host.model.folds import EMBEDDING


def stage(checkpoint: Checkpoint, folder: Path, *, untied: bool = False) -> Path:
    """Make `folder` a checkpoint of the same weights (by link) and companion files; returns it.

    Left behind: Python files, and the `auto_map` that asks for them. llama.cpp's converter loads some
    tokenizers with trust_remote_code=True, so a checkpoint could have its code run. `untied`: config.json says that
    the head has a tensor of its own.
    """
    folder.mkdir()
    for weights in checkpoint.weight_files:
        (folder / weights.name).symlink_to(weights)
    if checkpoint.index_file:
        shutil.copyfile(checkpoint.index_file, folder / checkpoint.index_file.name)
    stage_companions(checkpoint, folder, untied=untied)
    return folder


def changed_bytes(checkpoint: Checkpoint) -> int:
    """At most the disk space in bytes that `saving.save_changed` takes: all float32, and a head of its own."""
    return 4 * (checkpoint.n_parameters + checkpoint.tensors[f"{EMBEDDING}.weight"].n_elements)


def stage_companions(checkpoint: Checkpoint, folder: Path, *, untied: bool) -> None:
    """Copy config and tokenizer, without what asks for code."""
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
