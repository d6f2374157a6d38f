"""The recipes of the GGUFs to make: all that decides their content, and their sizes before they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.gguf.file_types import CONVERTED, FILE_TYPES, head_type, stored_bytes
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.provenance.manifest import (
    PREPARATION_VERSION,
    Recipe,
    Smoothing,
    SourceCheckpoint,
)
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, EMBEDDING, HEAD

METADATA_BYTES = 16_000_000
"""The size of a GGUF besides its weights: mostly the vocabulary (5 MB for 150,000 tokens), and norms in float32."""

HASH_CHUNK_BYTES = 1 << 22

MATRIX_DIMENSIONS = 2

GIVEN_MORE = ("v_proj", "qkv", "down_proj", ".w2.")
"""Parts of the names of matrices that llama-quantize may give more bits: v and down."""


def recipes_of(
    checkpoint: Checkpoint,
    plain: Sequence[str],
    smoothings: Mapping[str, Smoothing],
    llama_cpp: str,
    on_progress: OnProgress | None,
    *,
    head: str | None = None,
    imatrix_sha256: str | None = None,
) -> dict[str, Recipe]:
    """Return the recipe of each GGUF, smoothed and plain, by file name. Reads the checkpoint's files to hash them.

    `plain` are the types of the plain files, `smoothings` the settings of each type of smoothed ones. `head`: the type
    chosen for the head. `imatrix_sha256`: the hash of the importance matrix to round by, where a type makes use of it.
    """
    source = SourceCheckpoint(
        name=checkpoint.name,
        revision=checkpoint.revision,
        weights_sha256=hash_files(checkpoint.weight_files, on_progress),
        companions_sha256=hash_files(checkpoint.companion_files),
    )
    variants = [
        *(("smooth", quantisation, smoothing) for quantisation, smoothing in smoothings.items()),
        *(("plain", quantisation, None) for quantisation in plain),
    ]
    return {
        f"{checkpoint.name}-{variant}-{quantisation}.gguf": Recipe(
            preparation=PREPARATION_VERSION,
            source=source,
            architecture=checkpoint.architecture,
            quantisation=quantisation,
            head=type_of_head(checkpoint, quantisation, head),
            imatrix_sha256=imatrix_sha256 if FILE_TYPES[quantisation].rounds_by_importance else None,
            llama_cpp=llama_cpp,
            smoothing=smoothing,
        )
        for variant, quantisation, smoothing in variants
    }


def hash_files(files: tuple[Path, ...], on_progress: OnProgress | None = None) -> dict[str, str]:
    """Return the SHA-256 of each file, in hex, by the file's name. Progress is reported in bytes."""
    total = sum(file.stat().st_size for file in files)
    done = 0
    hashes: dict[str, str] = {}
    for file in files:
        digest = sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                if on_progress:
                    on_progress("hash", done, total)
        hashes[file.name] = digest.hexdigest()
    return hashes


def type_of_head(checkpoint: Checkpoint, file_type: str, chosen: str | None) -> str | None:
    """Return the type of the head's tensor in a GGUF of that type; None where the architecture is not in the table."""
    if checkpoint.architecture not in ARCHITECTURES:
        return None
    return head_type(file_type, chosen, checkpoint.tensors[f"{EMBEDDING}.weight"].shape[-1])


def is_tied(checkpoint: Checkpoint) -> bool:
    """Return whether llama.cpp multiplies by the embedding for the logits of this checkpoint."""
    row = ARCHITECTURES.get(checkpoint.architecture)
    return f"{HEAD}.weight" not in checkpoint.tensors or (row is not None and not row.own_head)


def needs_quantiser(recipe: Recipe) -> bool:
    """Return whether llama-quantize writes the GGUF: its types, or the rounding, are not the converter's."""
    matrices = FILE_TYPES[recipe.quantisation].matrices
    unknown = matrices == "q4_0" and recipe.architecture not in ARCHITECTURES  # which tensors must stay is not known
    return bool(
        unknown or recipe.imatrix_sha256 or matrices not in CONVERTED or (recipe.head and recipe.head not in CONVERTED)
    )


def gguf_bytes(checkpoint: Checkpoint, file_type: str, head: str | None, *, untied: bool) -> int:
    """Return about the size of the GGUF's weights in bytes, llama.cpp's fallbacks included.

    `head`: the type of the head's tensor; None where it is not known. `untied` adds a head of its own. Matrices that
    llama-quantize may give more bits are taken to have them.
    """
    row, tied = FILE_TYPES[file_type], is_tied(checkpoint)
    tensors = dict(checkpoint.tensors)
    if untied and tied:
        tensors[f"{HEAD}.weight"] = tensors[f"{EMBEDDING}.weight"]
    head_name = f"{EMBEDDING}.weight" if tied and not untied else f"{HEAD}.weight"
    total = 0
    for name, tensor in tensors.items():
        stored_as = row.matrices
        if len(tensor.shape) < MATRIX_DIMENSIONS:
            stored_as = "f32"
        elif name == head_name:
            stored_as = head or row.matrices
        elif row.more and any(part in name for part in GIVEN_MORE):
            stored_as = row.more
        total += stored_bytes(stored_as, tensor.shape[-1] if tensor.shape else 1, tensor.n_elements)
    return total


def growth(checkpoint: Checkpoint, types: Sequence[str], head: str | None) -> str:
    """Describe how much a head of its own adds to each type: `q8_0 from 145 to 175 MB (21% more)`."""
    return ", ".join(
        f"{name} from {before / 1e6:.0f} to {after / 1e6:.0f} MB ({after / before - 1:.0%} more)"
        for name in types
        for before, after in [
            [
                gguf_bytes(checkpoint, name, type_of_head(checkpoint, name, head), untied=untied)
                for untied in (False, True)
            ]
        ]
    )
