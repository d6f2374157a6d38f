"""Evaluate how far candidates are from a reference: all predict the same tokens of one text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.common.workspace import workspace
from smoothdroid.host.llamacpp.tool_output import NoNumber
from smoothdroid.host.model.evaluate.compatibility import Gguf, require_comparable
from smoothdroid.host.model.evaluate.logits import Divergence, SavedLogits, compare, nll, open_logits
from smoothdroid.host.model.evaluate.logits_cache import CachedLogits
from smoothdroid.host.model.evaluate.perplexity import InferenceKernels, OnWindow, PerplexityTask
from smoothdroid.host.model.evaluate.record import Candidate, Evaluation, Model
from smoothdroid.host.model.texts.prose import Prose

CONTEXT = 512  # tokens a window: what llama.cpp's own published figures use
WINDOWS = 16  # 4080 predicted tokens; a mean KLD has an interval of some 10 % then

# llama-perplexity prints a perplexity with four decimals, and rounds what it saves (host/model/evaluate/logits.py).
PERPLEXITY_TOLERANCE = 1e-3

DIGITS = 6  # kept of a token's figures: more than the saved log-probabilities have


def evaluate(
    reference: Gguf,
    candidates: Sequence[Gguf],
    text: Prose,
    kernels: InferenceKernels,
    *,
    logits_cache: Path,
    context: int = CONTEXT,
    windows: int = WINDOWS,
    reference_kernels: InferenceKernels | None = None,
    on_step: Callable[[str], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Run the reference and each candidate over `windows` windows of `context` tokens, and compare them.

    `kernels` compute the candidates, and the reference too unless it has `reference_kernels` of its own. The
    reference's log-probabilities are cached in the folder `logits_cache`; a candidate's lie there while it is
    compared. `on_progress` gets (what, windows done, windows in all).

    Raises BadInput where the text is too short, a candidate's vocabulary is not the reference's, a setting is
    wrong or the disk too full; SmoothdroidError where a model does not run or its logits are not finite.
    """
    vocabulary = require_comparable(reference, candidates, context, windows)
    with workspace(logits_cache, "evaluate") as work:
        task = PerplexityTask(work / "text.txt", text.name, context, windows, vocabulary)
        task.text.write_text(text.content, encoding="utf-8")
        run = _Run(work, task, on_step or (lambda _step: None), on_progress)
        of_reference = reference_kernels or kernels
        cached = CachedLogits(logits_cache, (reference.sha256, text.sha256, of_reference.id, context, windows))
        saved = run.reference(reference, of_reference, cached)
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
            candidates=[run.candidate(candidate, kernels, reference, saved) for candidate in candidates],
        )


@dataclass(frozen=True)
class _Run:
    """One evaluation under way, in the folder `work`."""

    work: Path
    task: PerplexityTask
    say: Callable[[str], None]
    on_progress: Callable[[str, int, int], None] | None

    def reference(self, model: Gguf, kernels: InferenceKernels, cached: CachedLogits) -> SavedLogits:
        """Return the reference's log-probabilities, computed unless they are cached."""
        saved = cached.read()
        # Before anything is run, for the reference and one candidate at a time.
        cached.make_room(self.task.logits_bytes if saved is None else 0, self.task.logits_bytes)
        if saved is not None:
            self.say(f"{model.name}: log-probabilities are cached")
            return saved
        return cached.store(self._predict(model, kernels, self.task, "reference").path)

    def candidate(self, model: Gguf, kernels: InferenceKernels, reference: Gguf, saved: SavedLogits) -> Candidate:
        """Run a candidate and compare it with the reference's log-probabilities `saved`."""
        predicted = self._predict(model, kernels, replace(self.task, tokens=saved.tokens), "candidate")
        if predicted.vocabulary != saved.vocabulary or not np.array_equal(predicted.tokens, saved.tokens):
            raise BadInput(f"{model.path}: it cuts the text into other tokens than {reference.path.name} does.")
        divergence = compare(saved, predicted, self._progress(f"{model.name}: comparing"))
        predicted.path.unlink()  # before the next one needs the space
        return _candidate(model, divergence)

    def _predict(self, model: Gguf, kernels: InferenceKernels, task: PerplexityTask, role: str) -> SavedLogits:
        self.say(f"{model.name}: {task.windows} windows of {task.context} tokens")
        destination = self.work / f"{role}.logits"
        return _save(model, task, kernels, destination, self._progress(f"{model.name}: predicting"))

    def _progress(self, label: str) -> OnWindow | None:
        report = self.on_progress
        return (lambda done, total: report(label, done, total)) if report else None


def _save(
    model: Gguf, task: PerplexityTask, kernels: InferenceKernels, destination: Path, on_window: OnWindow | None
) -> SavedLogits:
    """Have `model` predict, and check that the saved log-probabilities give the perplexity that was computed."""
    try:
        windows, printed = kernels.save_logits(model.path, task, destination, on_window)
    except NoNumber as error:
        raise SmoothdroidError(f"{model.path}: its perplexity is not known: {error}") from error
    saved = open_logits(destination)
    from_file = math.exp(float(nll(saved)[:windows].mean()))
    # Written so that NaN fails too: what a model with a broken weight saves.
    if not abs(from_file - printed) <= PERPLEXITY_TOLERANCE * printed:
        raise SmoothdroidError(
            f"{model.path}: its saved log-probabilities give the perplexity {from_file:.4f}, and the run that saved "
            f"them reported {printed:.4f}. Its logits are not finite, or the format of the file is not the known one."
        )
    return saved


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
