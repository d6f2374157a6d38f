"""The recipes of the GGUFs to make: all that decides their content, and their sizes before they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.provenance.manifest import (
    PREPARATION_VERSION,
    Quantisation,
    Recipe,
    Smoothing,
    SourceCheckpoint,
)
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING

BITS: Mapping[Quantisation, float] = {"f32": 32, "f16": 16, "q8_0": 8.5, "q4_0": 4.5}
"""The bits of a weight, its part of the block's scale included."""

METADATA_BYTES = 16_000_000
"""The size of a GGUF besides its weights: mostly the vocabulary (5 MB for 150,000 tokens), and norms in float32."""

HASH_CHUNK_BYTES = 1 << 22


def recipes_of(
    checkpoint: Checkpoint,
    plain: Sequence[Quantisation],
    smoothings: Mapping[Quantisation, Smoothing],
    llama_cpp: str,
    on_progress: OnProgress | None,
) -> dict[str, Recipe]:
    """Return the recipe of each GGUF, smoothed and plain, by file name. Reads the checkpoint's files to hash them."""
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


def gguf_bytes(checkpoint: Checkpoint, quantisation: Quantisation, *, untied: bool) -> int:
    """Return the approximate size of the GGUF's weights in bytes; `untied` adds a head of its own."""
    head = checkpoint.tensors[f"{EMBEDDING}.weight"].n_elements if untied else 0
    return int((checkpoint.n_parameters + head) * BITS[quantisation] / 8)


def growth(checkpoint: Checkpoint, types: Sequence[Quantisation]) -> str:
    """Describe how much a head of its own adds to each type: `q8_0 from 145 to 175 MB (21% more)`."""
    return ", ".join(
        f"{name} from {before / 1e6:.0f} to {after / 1e6:.0f} MB ({after / before - 1:.0%} more)"
        for name in types
        for before, after in [[gguf_bytes(checkpoint, name, untied=untied) for untied in (False, True)]]
    )
