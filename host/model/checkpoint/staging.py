"""A copy of a checkpoint that is safe to hand to a converter: data only."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.json_file import read_object
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING


@contextmanager
def staging_folder(checkpoint: Checkpoint, folder: Path) -> Iterator[Path]:
    """Make `folder` if its file system can hold links to the checkpoint's weights; else yield a temporary one that can.

    exFAT and some CIFS mounts have no links. Raises BadInput where neither place can hold one.
    """
    folder.mkdir()
    if _can_link(checkpoint, folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="smoothdroid-") as elsewhere:
        if not _can_link(checkpoint, Path(elsewhere)):
            raise BadInput(
                f"{folder.parents[1]} is on a file system without links, and so is {tempfile.gettempdir()}: give "
                "another -o, or set TMPDIR to a folder on a file system that has them."
            )
        yield Path(elsewhere)


def _can_link(checkpoint: Checkpoint, folder: Path) -> bool:
    probe = folder / ".link"
    try:
        link(checkpoint.weight_files[0], probe)
    except OSError:
        return False
    probe.unlink()
    return True


def link(file: Path, name: Path) -> None:
    """Make `name` a symbolic link to the file, or a hard one. Raises OSError where neither can be made."""
    try:
        name.symlink_to(file)
    except OSError:
        os.link(file.resolve(), name)


def stage(checkpoint: Checkpoint, folder: Path, *, untied: bool = False) -> Path:
    """Make `folder` a checkpoint of the same weights (by link) and companion files; returns it.

    Left behind: Python files, and the `auto_map` that asks for them. llama.cpp's converter loads some
    tokenizers with trust_remote_code=True, so a checkpoint could have its code run. `untied`: config.json says that
    the head has a tensor of its own.
    """
    folder.mkdir()
    for weights in checkpoint.weight_files:
        link(weights, folder / weights.name)
    if checkpoint.index_file:
        _copy(checkpoint.index_file, folder)
    stage_companions(checkpoint, folder, tied=False if untied else None)
    return folder


def changed_bytes(checkpoint: Checkpoint) -> int:
    """Return at most the disk space in bytes that `saving.save_changed` takes: all float32, and a head of its own."""
    return 4 * (checkpoint.n_parameters + checkpoint.tensors[f"{EMBEDDING}.weight"].n_elements)


def stage_companions(checkpoint: Checkpoint, folder: Path, *, tied: bool | None = None) -> None:
    """Copy config and tokenizer without entries that load code; `tied` sets tie_word_embeddings in config.json."""
    for file in checkpoint.companion_files:
        _copy(file, folder)
    _edit(folder / "tokenizer_config.json", {"auto_map": None})
    changes: dict[str, Any] = {"auto_map": None}
    if not checkpoint.config.get("quantization_config"):
        changes["quantization_config"] = None  # transformers takes null and {} for a quantisation
    if tied is not None:
        changes["tie_word_embeddings"] = tied
        if checkpoint.stored_names:  # a text part, whose settings are a part of the file too
            text = {key: value for key, value in checkpoint.config.items() if key != "architectures"}
            changes["text_config"] = {**text, "tie_word_embeddings": tied}
    _edit(folder / "config.json", changes)


def _copy(file: Path, folder: Path) -> None:
    """Copy the file without the byte order mark that a text editor put before it: transformers refuses it."""
    copied = folder / file.name
    shutil.copyfile(file, copied)
    with copied.open("rb") as stream:
        marked = stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    if marked and file.suffix != ".model":
        copied.write_bytes(copied.read_bytes().removeprefix(codecs.BOM_UTF8))


def make_readable(file: Path) -> None:
    """Let others read the file, as new files usually are. exFAT and CIFS have no such rights, and may refuse."""
    with suppress(OSError):
        file.chmod(0o644)


def _edit(file: Path, changes: dict[str, Any]) -> None:
    """Set these keys of a JSON file, where there is one; None takes a key out. Raises BadInput where it is not JSON."""
    if not file.is_file():
        return
    before = read_object(file)
    after = {key: value for key, value in {**before, **changes}.items() if value is not None or key not in changes}
    if after != before:
        file.write_text(json.dumps(after, indent=2), encoding="utf-8")
