"""A copy of a checkpoint that is safe to hand to a converter: data only, folded or as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from device.errors import BadInput
from host.model.checkpoint import INDEX_FILE, SINGLE_FILE, Checkpoint
from host.model.folds import Fold
from host.model.smooth import fold_into_linear, fold_into_norm

FLOAT32_BYTES = 4


def stage(checkpoint: Checkpoint, folder: Path) -> Path:
    """Make `folder` a checkpoint of the same weights (by link) and companion files; returns it.

    Left behind: Python files, and the `auto_map` that asks for them. llama.cpp's converter loads some
    tokenizers with trust_remote_code=True, so a checkpoint could have its code run.
    """
    folder.mkdir()
    for weights in checkpoint.weight_files:
        (folder / weights.name).symlink_to(weights)
    _stage_companions(checkpoint, folder)
    return folder


def stage_folded(checkpoint: Checkpoint, folder: Path, scales: Mapping[Fold, Tensor]) -> Path:
    """Make `folder` the checkpoint with the scales folded in; returns it.

    Folded tensors are written as float32, the others as they are; one weight file in memory at a time.
    """
    norms = {f"{fold.norm}.weight": scale for fold, scale in scales.items()}
    linears = {f"{linear}.weight": scale for fold, scale in scales.items() for linear in fold.linears}
    folder.mkdir()
    for weights in checkpoint.weight_files:
        tensors: dict[str, Tensor] = {}
        with safe_open(weights, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                tensor = file.get_tensor(name)
                if name in norms:
                    tensor = fold_into_norm(tensor, norms[name])
                elif name in linears:
                    tensor = fold_into_linear(tensor, linears[name])
                tensors[name] = tensor
        save_file(tensors, folder / weights.name, metadata={"format": "pt"})
    _stage_companions(checkpoint, folder)
    return folder


def folded_bytes(checkpoint: Checkpoint, folds: tuple[Fold, ...]) -> int:
    """The disk space in bytes that `stage_folded` takes.

    Raises BadInput where the checkpoint has not all the tensors that the folds name.
    """
    folded = {f"{module}.weight" for fold in folds for module in (fold.norm, *fold.linears)}
    missing = sorted(folded - checkpoint.tensors.keys())
    if missing:
        raise BadInput(
            f"{checkpoint.path}: a {checkpoint.architecture} of this size has the tensor {missing[0]}, and it is not "
            f"there ({len(missing)} of {len(folded)} are missing). Fetch the checkpoint again."
        )
    return sum(
        tensor.n_elements * FLOAT32_BYTES if name in folded else tensor.n_bytes
        for name, tensor in checkpoint.tensors.items()
    )


def _stage_companions(checkpoint: Checkpoint, folder: Path) -> None:
    for file in checkpoint.companion_files:
        shutil.copyfile(file, folder / file.name)
    if [file.name for file in checkpoint.weight_files] != [SINGLE_FILE]:
        shutil.copyfile(checkpoint.path / INDEX_FILE, folder / INDEX_FILE)
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file():
            content = json.loads(file.read_text(encoding="utf-8"))
            if content.pop("auto_map", None) is not None:
                file.write_text(json.dumps(content, indent=2), encoding="utf-8")
