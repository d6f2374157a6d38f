"""A checkpoint -> the same function with SmoothQuant's scales folded in, and the proof that it is the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from device.errors import SmoothdroidError
from host.model.calibrate import activation_absmax, draw_windows
from host.model.checkpoint import Checkpoint
from host.model.folds import Fold
from host.model.manifest import Equivalence, Smoothing
from host.model.network import load_model, load_tokenizer, logits
from host.model.prose import Prose
from host.model.smooth import column_absmax, smoothing_scales
from host.model.staging import stage_folded

# Folding is exact but for float32's rounding, which moves logits of magnitude 10 to 30 by less than this.
# A fold that is wrong (a linear left out, a norm that feeds something else too) moves them by whole units.
MAX_LOGIT_DIFFERENCE = 1e-3


def fold_checkpoint(
    checkpoint: Checkpoint,
    staged: Path,
    folder: Path,
    *,
    folds: tuple[Fold, ...],
    settings: Smoothing,
    text: Prose,
    say: Callable[[str], None],
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Path, Equivalence]:
    """Write the folded checkpoint to `folder` and return it; `staged` is the original as transformers loads it.

    The logits compared are those of the folded checkpoint as it was written, loaded again.
    Raises SmoothdroidError where they differ by more than MAX_LOGIT_DIFFERENCE.
    """
    windows = draw_windows(
        text, load_tokenizer(staged), n_samples=settings.n_samples, seq_len=settings.seq_len, seed=settings.seed
    )
    say(f"calibrating on {settings.n_samples} windows of {settings.seq_len} tokens")
    model = load_model(staged)
    activations = activation_absmax(model, windows.calibration, folds, on_progress)
    scales = {
        fold: smoothing_scales(activations[fold.norm], column_absmax(_weights(model, fold)), settings.alpha)
        for fold in folds
    }
    reference = logits(model, windows.held_out)
    del model  # before the next one is loaded: two do not fit where one does

    say("folding the scales into the weights")
    stage_folded(checkpoint, folder, scales)
    say("comparing the logits with the original's")
    difference = (logits(load_model(folder), windows.held_out) - reference).abs().max().item()
    require_equivalent(checkpoint, difference)
    return folder, Equivalence(max_abs_logit_difference=difference, n_tokens=windows.held_out.numel())


def require_equivalent(checkpoint: Checkpoint, difference: float) -> None:
    """Raise SmoothdroidError where a logit moved by more than MAX_LOGIT_DIFFERENCE, or is not a number."""
    if not math.isfinite(difference) or difference > MAX_LOGIT_DIFFERENCE:
        raise SmoothdroidError(
            f"{checkpoint.path}: the smoothed model is not the same function: a logit differs by {difference:.3g} "
            f"(at most {MAX_LOGIT_DIFFERENCE:g} is rounding). Nothing was written. Either the weights are damaged, or "
            f"this is no usual {checkpoint.architecture}: its norms feed something that the table of folds leaves out."
        )


def _weights(model: nn.Module, fold: Fold) -> list[Tensor]:
    return [model.get_submodule(linear).get_parameter("weight").detach() for linear in fold.linears]
