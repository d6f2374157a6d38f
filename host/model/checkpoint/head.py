"""The head of a checkpoint: one that repeats the embedding, and one that llama.cpp has no place for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, EMBEDDING, HEAD


def settle_head(checkpoint: Checkpoint, say: Callable[[str], None]) -> Checkpoint:
    """Return the checkpoint as llama.cpp can hold it: without the head where its graph multiplies by the embedding.

    Reports where a head repeats the embedding and only takes room. Raises BadInput where a head of its own would be
    lost: llama.cpp's Gemma 1 and 2 have none.
    """
    names = (f"{EMBEDDING}.weight", f"{HEAD}.weight")
    if not all(name in checkpoint.tensors for name in names):
        return checkpoint
    embedding, head = names
    row = ARCHITECTURES.get(checkpoint.architecture)
    repeats = _equal(Weights(checkpoint), embedding, head)
    if row and not row.own_head:
        if not repeats:
            raise BadInput(
                f"{checkpoint.path}: {head} is not the embedding, and llama.cpp's graph of {checkpoint.architecture} "
                "multiplies by the embedding: the GGUF would be another model. Only a checkpoint whose head is tied to "
                "the embedding can be prepared."
            )
        return without_head(checkpoint)
    if repeats:
        share = checkpoint.tensors[head].n_elements / checkpoint.n_parameters
        say(
            f"{head} repeats the embedding and is written a second time: take it out of the checkpoint, with "
            f'"tie_word_embeddings": true in config.json, and the file is {share:.0%} smaller'
        )
    return checkpoint


def without_head(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with its head tied to the embedding."""
    head = f"{HEAD}.weight"
    return replace(
        checkpoint,
        config={**checkpoint.config, "tie_word_embeddings": True},
        tensors={name: tensor for name, tensor in checkpoint.tensors.items() if name != head},
        tensors_by_file={file: names - {head} for file, names in checkpoint.tensors_by_file.items()},
    )


def _equal(weights: Weights, one: str, other: str) -> bool:
    """Return whether the two tensors hold the same numbers; they are read in parts, until they differ."""
    if weights.shape(one) != weights.shape(other):
        return False
    pairs = zip(weights.lazy_parts(one), weights.lazy_parts(other), strict=True)
    return all(torch.equal(part(), same()) for part, same in pairs)
