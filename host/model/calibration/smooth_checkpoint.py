"""SmoothQuant on a whole checkpoint: the changes to its tensors, and the record of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.model.calibration.fold_scales import FoldScales, GivenAlphas
from smoothdroid.host.model.calibration.input_squares import InputSquares
from smoothdroid.host.model.calibration.layer_pass import FoldingResult, fold_layers
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.calibration.search import AlphaSearch, held_out_windows
from smoothdroid.host.model.calibration.transformers_loading import load_tokenizer
from smoothdroid.host.model.calibration.windows import HELD_OUT_WINDOWS, Windows, draw_windows
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.saving import unties
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.provenance.manifest import AutoAlpha, FoldAlpha, HeldOut, Smoothing, SmoothingOutcome
from smoothdroid.host.model.smoothquant.architectures import HEAD
from smoothdroid.host.model.smoothquant.folds import Fold, expand, folds_of, head_fold, residual_stream
from smoothdroid.host.model.smoothquant.rotation import Rotation
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChanges, rotation_changes
from smoothdroid.host.model.texts.prose import Prose

PLAIN, FOLDED, ROTATED = "plain", "folded", "rotated and folded"


def smooth_checkpoint(
    checkpoint: Checkpoint,
    settings: Smoothing,
    texts: Sequence[Prose],
    staged: Path,
    *,
    device: torch.device,
    say: Callable[[str], None],
    squares: InputSquares | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[TensorChanges, SmoothingOutcome]:
    """Return the changes that smooth the checkpoint, and the record of them.

    `squares` records the inputs of every linear before the folds, for an importance matrix. `staged` is the
    checkpoint's folder as transformers may load the tokenizer from. Raises BadInput where the model or a text is
    wrong, SmoothdroidError where the function would not stay.
    """
    network = Network(checkpoint, device)
    folds = expand(folds_of(checkpoint.architecture, settings.folds), network.sizes)
    if "norm" in settings.folds and (settings.untie or f"{HEAD}.weight" in checkpoint.tensors):
        folds = (*folds, head_fold(checkpoint.architecture))
    rotated = _rotated(checkpoint, network, settings.seed) if settings.rotate else None
    auto = isinstance(settings.alpha, AutoAlpha)
    windows = draw_windows(
        texts,
        load_tokenizer(staged),
        n_samples=settings.n_samples,
        seq_len=settings.seq_len,
        seed=settings.seed,
        n_held_out=held_out_windows(settings.seq_len) if auto else HELD_OUT_WINDOWS,
    )
    fold = partial(fold_layers, network, checkpoint, windows, folds, squares=squares, on_progress=on_progress)
    if isinstance(settings.alpha, AutoAlpha):
        head = settings.alpha.head or settings.alpha.quantisation
        shared = not settings.untie and f"{HEAD}.weight" not in checkpoint.tensors
        search = AlphaSearch.for_kernel(
            settings.alpha.kernel,
            settings.alpha.quantisation,
            n_tokens=windows.calibration.numel(),
            head=head,
            embedding=head if shared else settings.alpha.quantisation,
        )
        return _search(checkpoint, search, windows, fold, rotated, say)
    task = "smoothing" if settings.folds or rotated else "measuring activations"
    say(f"{task}, layer by layer, on {settings.n_samples} windows of {settings.seq_len} tokens")
    result = fold(GivenAlphas(settings.alpha), rotated=rotated)
    return result.changes, _outcome(checkpoint, ROTATED if rotated else FOLDED, result, held_out=None)


def _search(
    checkpoint: Checkpoint,
    search: AlphaSearch,
    windows: Windows,
    fold: Callable[..., FoldingResult],
    rotated: TensorChanges | None,
    say: Callable[[str], None],
) -> tuple[TensorChanges, SmoothingOutcome]:
    """Return the best of plain, folded and rotated: whichever is nearest to float32 on held-out text."""
    tried: dict[str, FoldingResult] = {}
    for name, change in ((FOLDED, None), *([(ROTATED, rotated)] if rotated else [])):
        kernel = search.arithmetic.name
        say(f"choosing alphas for {search.quantisation} on {kernel}'s arithmetic, layer by layer ({name})")
        tried[name] = fold(search, rotated=change, trial=search)
    kld = {PLAIN: tried[FOLDED].trial[PLAIN], **{name: result.trial[FOLDED] for name, result in tried.items()}}
    best = min(kld, key=lambda name: kld[name])
    say("held-out KLD: " + ", ".join(f"{name} {value:.4g}" for name, value in kld.items()) + f"; writing {best}")
    held_out = HeldOut(n_tokens=windows.held_out.numel(), kld=kld)
    if best != PLAIN:
        return tried[best].changes, _outcome(checkpoint, best, tried[best], held_out)
    return {}, SmoothingOutcome(
        chosen=PLAIN,
        equivalence=None,
        alphas=(),
        held_out=held_out,
        untied=False,
        calibrated_in=tried[FOLDED].calibrated_in,
    )


def _rotated(checkpoint: Checkpoint, network: Network, seed: int) -> TensorChanges:
    stream = residual_stream(checkpoint.architecture, network.sizes)
    weights = Weights(checkpoint)
    norms = {name: weights.read(name) for name in (f"{norm}.weight" for norm in stream.readers)}
    return rotation_changes(stream, Rotation(network.hidden_size, seed), norms, checkpoint.tensors)


def _outcome(checkpoint: Checkpoint, chosen: str, result: FoldingResult, held_out: HeldOut | None) -> SmoothingOutcome:
    return SmoothingOutcome(
        chosen=chosen,
        equivalence=result.equivalence,
        alphas=_fold_alphas(result.choices),
        held_out=held_out,
        untied=unties(checkpoint, result.changes),
        calibrated_in=result.calibrated_in,
    )


def _fold_alphas(choices: Mapping[Fold, FoldScales]) -> tuple[FoldAlpha, ...]:
    """Return the record of each fold's alpha."""
    return tuple(
        FoldAlpha(
            kind=fold.kind,
            layer=fold.layer,
            expert=fold.expert,
            fold=str(fold),
            alpha=choice.alpha,
            statistic=choice.statistic,
        )
        for fold, choice in choices.items()
    )
