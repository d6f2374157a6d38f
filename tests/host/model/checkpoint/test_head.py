from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.head import settle_head
from smoothdroid.host.model.checkpoint.saving import save_changed

MakeCheckpoint = Callable[..., Path]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def with_head(folder: Path, *, equal: bool) -> Path:
    stored = load_file(folder / "model.safetensors")
    stored[HEAD] = stored[EMBEDDING].clone() if equal else stored[EMBEDDING] + 1
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["GemmaForCausalLM", "Gemma2ForCausalLM"])
def test_a_head_that_repeats_the_embedding_is_tied_where_llama_cpp_has_no_other(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, architecture: str, tied: bool
) -> None:
    checkpoint = open_checkpoint(with_head(make_checkpoint(architecture=architecture, tied=tied), equal=True))
    notes: list[str] = []
    settled = settle_head(checkpoint, notes.append)
    assert HEAD in checkpoint.tensors
    assert HEAD not in settled.tensors
    assert notes == []
    Network(settled)
    saved = open_checkpoint(save_changed(settled, tmp_path / "saved", {}))
    assert HEAD not in saved.tensors
    assert saved.config["tie_word_embeddings"] is True


@pytest.mark.fault(
    "a Gemma 1 or 2 with a head of its own, which llama.cpp cannot hold",
    transport="workstation",
    outcome="refused before calibration; a head that repeats the embedding is tied to it",
)
@pytest.mark.parametrize("architecture", ["GemmaForCausalLM", "Gemma2ForCausalLM"])
def test_a_head_that_would_be_lost_is_refused(make_checkpoint: MakeCheckpoint, architecture: str) -> None:
    checkpoint = open_checkpoint(with_head(make_checkpoint(architecture=architecture), equal=False))
    with pytest.raises(BadInput, match=rf"lm_head\.weight is not the embedding.*{architecture} multiplies by"):
        settle_head(checkpoint, lambda _note: None)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma3ForCausalLM"])
@pytest.mark.parametrize("equal", [True, False])
def test_others_keep_their_head(make_checkpoint: MakeCheckpoint, architecture: str, equal: bool) -> None:
    checkpoint = open_checkpoint(with_head(make_checkpoint(architecture=architecture), equal=equal))
    notes: list[str] = []
    assert settle_head(checkpoint, notes.append) == checkpoint
    assert len(notes) == equal
    assert all("repeats the embedding" in note and "% smaller" in note for note in notes)


def test_a_head_that_is_not_there_is_no_matter(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint(tied=True))
    assert settle_head(checkpoint, pytest.fail) is checkpoint
