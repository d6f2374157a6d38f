"""How far candidates are from a reference: both predict the same tokens of one text."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from smoothdroid.device.common.atomic_file import publish
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.common.workspace import workspace
from smoothdroid.host.gguf.reader import GgufFile
from smoothdroid.host.llamacpp.tool_output import NoNumber
from smoothdroid.host.model.evaluate.logits import Divergence, SavedLogits, compare, file_bytes, nll, open_logits
from smoothdroid.host.model.evaluate.perplexity import Kernels, OnWindow, PerplexityTask
from smoothdroid.host.model.evaluate.record import Candidate, Evaluation, Model
from smoothdroid.host.model.texts.prose import Prose

CONTEXT = 512  # tokens a window: what llama.cpp's own published figures use
WINDOWS = 16  # 4080 predicted tokens; a mean KLD has an interval of some 10 % then

# One window alone has no interval, and llama-perplexity refuses a text that does not fill two.
MIN_WINDOWS = 2
MIN_CONTEXT = 16  # half of it is context

# References kept: one of 16 windows is 0.4 GB with a vocabulary of 49,000, 1 GB with 128,000.
CACHE_LIMIT_BYTES = 8 << 30

# llama-perplexity prints a perplexity with four decimals, and rounds what it saves (host/model/evaluate/logits.py).
PERPLEXITY_TOLERANCE = 1e-3

DIGITS = 6  # kept of a token's figures: more than the saved log-probabilities have


class Gguf(Protocol):
    """A model file, inspected."""

    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def bits_per_weight(self) -> float: ...


def evaluate(
    reference: Gguf,
    candidates: Sequence[Gguf],
    text: Prose,
    kernels: Kernels,
    *,
    logits_cache: Path,
    context: int = CONTEXT,
    windows: int = WINDOWS,
    reference_kernels: Kernels | None = None,
    on_step: Callable[[str], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Run the reference and each candidate over `windows` windows of `context` tokens, and compare them.

    `kernels` compute the candidates, and the reference too unless it has `reference_kernels` of its own. The
    reference's log-probabilities are kept in the folder `logits_cache` and found again there; a candidate's lie
    there while it is compared. `on_progress` gets (what, windows done, windows in all).

    Raises BadInput where the text is too short, a candidate's vocabulary is not the reference's, a setting is
    wrong or the disk too full; SmoothdroidError where a model does not run or its logits are not finite.
    """
    say = on_step or (lambda _step: None)
    of_reference = reference_kernels or kernels
    vocabulary = _check(reference, candidates, context, windows)
    needed = file_bytes(context=context, windows=windows, vocabulary=vocabulary)
    with workspace(logits_cache, "evaluate") as work:
        task = PerplexityTask(work / "text.txt", text.name, context, windows, vocabulary)
        task.text.write_text(text.content, encoding="utf-8")

        def run(model: Gguf, task: PerplexityTask, on: Kernels, destination: Path) -> SavedLogits:
            say(f"{model.name}: {windows} windows of {context} tokens")
            return _save(model, task, on, destination, _told(on_progress, f"{model.name}: predicting"))

        cached = logits_cache / f"{_key(reference, text, of_reference, context, windows)}.logits"
        saved = _read_cached(cached)
        # Before anything is run, for the reference and one candidate at a time.
        _make_room(logits_cache, needed if saved is None else 0, needed, keep=cached)
        if saved is None:
            run(reference, task, of_reference, work / "reference.logits")
            publish(work / "reference.logits", cached)
            saved = open_logits(cached)
        else:
            say(f"{reference.name}: known from before")

        task = replace(task, tokens=saved.tokens)
        compared = []
        for candidate in candidates:
            theirs = run(candidate, task, kernels, work / "candidate.logits")
            if theirs.vocabulary != saved.vocabulary or not np.array_equal(theirs.tokens, saved.tokens):
                raise BadInput(f"{candidate.path}: it cuts the text into other tokens than {reference.path.name} does.")
            divergence = compare(saved, theirs, _told(on_progress, f"{candidate.name}: comparing"))
            compared.append(_candidate(candidate, divergence))
            theirs.path.unlink()  # before the next one needs the space
        return Evaluation(
            text=text.name,
            text_sha256=text.sha256,
            context=context,
            windows=windows,
            kernels=kernels.name,
            kernels_id=kernels.id,
            reference_kernels=reference_kernels.name if reference_kernels else None,
            reference_kernels_id=reference_kernels.id if reference_kernels else None,
            reference=_model(reference),
            reference_nll=_lists(nll(saved)),
            candidates=compared,
        )


def _check(reference: Gguf, candidates: Sequence[Gguf], context: int, windows: int) -> int:
    """The vocabulary's size. Raises BadInput where the files do not go together, or the settings with them."""
    if not candidates:
        raise BadInput("There is no candidate to compare with the reference.")
    names = [candidate.name for candidate in candidates]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"Two candidates are called {doubled[0]}: no table could tell them apart. Rename one.")
    if context < MIN_CONTEXT:
        raise BadInput(f"{context} tokens a window: at least {MIN_CONTEXT} are needed.")
    if windows < MIN_WINDOWS:
        raise BadInput(f"{windows} windows: at least {MIN_WINDOWS} are needed, one alone has no error.")
    tokens, longest = _vocabulary(reference.path)
    if longest is not None and context > longest:
        raise BadInput(f"{context} tokens a window, and {reference.name} takes at most {longest}: give a shorter one.")
    for candidate in candidates:
        theirs, _ = _vocabulary(candidate.path)
        if len(theirs) != len(tokens):
            raise BadInput(
                f"{candidate.path} has a vocabulary of {len(theirs)} tokens and {reference.path} one of {len(tokens)}: "
                "the KL divergence is between models with one vocabulary. Compare it with the model it was made from."
            )
        if theirs != tokens:
            raise BadInput(
                f"{candidate.path} and {reference.path} have different tokens in their vocabularies. "
                "Compare it with the model it was made from."
            )
    return len(tokens)


def _vocabulary(path: Path) -> tuple[list[str], int | None]:
    """(the tokens, the longest context or None). Raises BadInput where the file is no GGUF with a vocabulary."""
    gguf = GgufFile(path)
    tokens, length = gguf.value("tokenizer.ggml.tokens"), gguf.value(f"{gguf.architecture}.context_length")
    if not tokens or not isinstance(tokens, list):
        raise BadInput(f"{path}: it holds no vocabulary, so it cannot read a text.")
    return tokens, length if isinstance(length, int) else None


def _key(reference: Gguf, text: Prose, kernels: Kernels, context: int, windows: int) -> str:
    """All that decides the reference's log-probabilities."""
    decides = [reference.sha256, text.sha256, kernels.id, context, windows]
    return sha256(json.dumps(decides).encode()).hexdigest()[:32]


def _read_cached(path: Path) -> SavedLogits | None:
    """The log-probabilities in `path`, if they are there and whole; they count as used now."""
    try:
        saved = open_logits(path)
        os.utime(path)
    except (OSError, SmoothdroidError):
        return None
    return saved


def _make_room(folder: Path, reference_bytes: int, candidate_bytes: int, *, keep: Path) -> None:
    """Remove the references used longest ago beyond CACHE_LIMIT_BYTES. Raises BadInput when the disk is too full."""
    by_use = sorted(folder.glob("*.logits"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in by_use) + reference_bytes
    for path in by_use:
        if total > CACHE_LIMIT_BYTES and path != keep:
            total -= path.stat().st_size
            path.unlink()
    needed, free = reference_bytes + candidate_bytes, shutil.disk_usage(folder).free
    if free < needed:
        raise BadInput(
            f"{folder}: the log-probabilities take {needed / 1e9:.2f} GB there and {free / 1e9:.2f} GB are free. Free "
            "some, ask for fewer windows (--chunks), or put the cache elsewhere with SMOOTHDROID_CACHE."
        )


def _save(
    model: Gguf, task: PerplexityTask, kernels: Kernels, destination: Path, on_window: OnWindow | None
) -> SavedLogits:
    """Have `model` predict, and check that what was saved is what was computed."""
    try:
        windows, printed = kernels.save_logits(model.path, task, destination, on_window)
    except NoNumber as error:
        raise SmoothdroidError(f"{model.path}: its perplexity is not known: {error}") from error
    saved = open_logits(destination)
    from_file = math.exp(float(nll(saved)[:windows].mean()))
    # Written so that NaN fails too: what a model with a broken weight saves.
    if not abs(from_file - printed) <= PERPLEXITY_TOLERANCE * printed:
        raise SmoothdroidError(
            f"{model.path}: its saved log-probabilities give the perplexity {from_file:.4f}, and what computed them "
            f"told {printed:.4f}. Its logits are not finite, or the format of the file is not the known one."
        )
    return saved


def _told(on_progress: Callable[[str, int, int], None] | None, label: str) -> OnWindow | None:
    return (lambda done, total: on_progress(label, done, total)) if on_progress else None


def _candidate(model: Gguf, divergence: Divergence) -> Candidate:
    if not np.isfinite(divergence.kld).all():
        raise SmoothdroidError(f"{model.path}: its logits are not finite: a weight is damaged, or a kernel wrong.")
    return Candidate(
        model=_model(model),
        kld=_lists(divergence.kld),
        nll=_lists(divergence.nll),
        same_top=divergence.same_top.tolist(),
    )


def _model(gguf: Gguf) -> Model:
    return Model(name=gguf.name, sha256=gguf.sha256, size_bytes=gguf.size_bytes, bits_per_weight=gguf.bits_per_weight)


def _lists(values: np.ndarray[Any, Any]) -> list[list[float]]:
    return [[float(f"{value:.{DIGITS}g}") for value in window] for window in values]
