"""The checks before an evaluation: models and settings that can be compared at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.reader import GgufFile

# One window alone has no interval, and llama-perplexity refuses a text that does not fill two.
MIN_WINDOWS = 2
MIN_CONTEXT = 16  # half of it is context


class Gguf(Protocol):
    """A model file, inspected."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def name(self) -> str:
        """The name by which reports call the model."""
        ...

    @property
    def sha256(self) -> str:
        """The file's SHA-256 in hex."""
        ...

    @property
    def size_bytes(self) -> int:
        """The file's size in bytes."""
        ...

    @property
    def bits_per_weight(self) -> float:
        """The mean size of a weight."""
        ...


def require_comparable(reference: Gguf, candidates: Sequence[Gguf], context: int, windows: int) -> int:
    """Return the size of the vocabulary that all models share.

    Raises BadInput where the candidates cannot be compared with the reference, or a setting does not suit them.
    """
    if not candidates:
        raise BadInput("There is no candidate to compare with the reference.")
    names = [candidate.name for candidate in candidates]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"Two candidates are called {doubled[0]}: no table could tell them apart. Rename one.")
    if context < MIN_CONTEXT:
        raise BadInput(f"{context} tokens a window: at least {MIN_CONTEXT} are needed.")
    if windows < MIN_WINDOWS:
        raise BadInput(f"{windows} windows: at least {MIN_WINDOWS} are needed, one alone has no error.")
    tokens, longest = vocabulary_of(reference.path)
    if longest is not None and context > longest:
        raise BadInput(f"{context} tokens a window, and {reference.name} takes at most {longest}: give a shorter one.")
    for candidate in candidates:
        _require_vocabulary(candidate.path, reference.path, tokens)
    return len(tokens)


def _require_vocabulary(candidate: Path, reference: Path, tokens: list[str]) -> None:
    """Raise BadInput where the candidate's vocabulary is not `tokens`, the reference's."""
    candidate_tokens, _ = vocabulary_of(candidate)
    if len(candidate_tokens) != len(tokens):
        raise BadInput(
            f"{candidate} has a vocabulary of {len(candidate_tokens)} tokens and {reference} one of {len(tokens)}: "
            "the KL divergence is between models with one vocabulary. Compare it with the model it was made from."
        )
    if candidate_tokens != tokens:
        raise BadInput(
            f"{candidate} and {reference} have different tokens in their vocabularies. "
            "Compare it with the model it was made from."
        )


def vocabulary_of(path: Path) -> tuple[list[str], int | None]:
    """Return (the tokens, the longest context or None). Raises BadInput where the GGUF has no vocabulary."""
    gguf = GgufFile(path)
    tokens, length = gguf.value("tokenizer.ggml.tokens"), gguf.value(f"{gguf.architecture}.context_length")
    if not tokens or not isinstance(tokens, list):
        raise BadInput(f"{path}: it holds no vocabulary, so it cannot read a text.")
    return tokens, length if isinstance(length, int) else None
