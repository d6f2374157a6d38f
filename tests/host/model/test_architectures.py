"""Every row of the table of folds, on a model of its own: the function stays, the weights change, outliers shrink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.fold_scales import FoldScales, GivenAlphas, LayerTensors
from smoothdroid.host.model.calibration.layer_pass import (
    MAX_RELATIVE_DIFFERENCE,
    compare,
    compare_in_float64,
    fold_layers,
    is_equivalent,
)
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.calibration.windows import ReaderInputs, Windows
from smoothdroid.host.model.checkpoint.folder import Checkpoint, open_checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, HEAD, architecture_of
from smoothdroid.host.model.smoothquant.folds import KINDS, Fold, expand, folds_of, head_fold, residual_stream
from smoothdroid.host.model.smoothquant.rotation import Rotation
from smoothdroid.host.model.smoothquant.tensor_changes import (
    TensorChange,
    TensorChanges,
    fold_changes,
    rotation_changes,
    touched,
)
from tests.host.model.tiny_models import LOUD_CHANNEL, write_tiny_model

CALIBRATION = torch.randint(3, 200, (3, 48), generator=torch.Generator().manual_seed(0))
UNSEEN = torch.randint(3, 200, (2, 32), generator=torch.Generator().manual_seed(1))
WINDOWS = Windows(CALIBRATION, UNSEEN)
GIVEN = GivenAlphas(dict.fromkeys(KINDS, 0.5))

MODELS = [(architecture, tied) for architecture in sorted(ARCHITECTURES) for tied in (False, True)]


@dataclass(frozen=True)
class Original:
    """A tiny model, its folds' scales at alpha 0.5, and its logits on other text."""

    checkpoint: Checkpoint
    network: Network
    folds: tuple[Fold, ...]
    choices: Mapping[Fold, FoldScales]
    logits: Tensor

    def changes(self, folds: tuple[Fold, ...], rotated: TensorChanges | None = None) -> TensorChanges:
        return fold_changes({fold: self.choices[fold].scales for fold in folds}, self.checkpoint.tensors, rotated)

    def difference(self, changed: TensorChanges) -> float:
        """Of the logits, relative to their range."""
        moved = (logits(self.network, Weights(self.checkpoint, changed)) - self.logits).abs().max()
        return (moved / (self.logits.max() - self.logits.min())).item()

    def stays(self, changed: TensorChanges) -> bool:
        """Whether the function stays by the measure of `prepare`: in float64 where float32 itself rounds more."""
        folded = Weights(self.checkpoint, changed)
        return is_equivalent(compare(self.logits, logits(self.network, folded))) or is_equivalent(
            compare_in_float64(self.network, Weights(self.checkpoint), folded, UNSEEN)
        )

    def ranges(self, changed: TensorChanges) -> Mapping[Fold, Tensor]:
        """What the folds' readers read of the calibration, of the model with these changes."""
        watch = Watch()
        fold_layers(self.network, self.checkpoint, WINDOWS, self.folds, watch, rotated=changed)
        return watch.ranges

    def rotated(self) -> TensorChanges:
        stream = residual_stream(self.checkpoint.architecture, self.network.sizes)
        names = [f"{norm}.weight" for norm in stream.readers]
        norms = {name: Weights(self.checkpoint).read(name) for name in names}
        return rotation_changes(stream, Rotation(self.network.hidden_size, 0), norms, self.checkpoint.tensors)


def rotates(architecture: str) -> bool:
    return architecture_of(architecture).rotates


def logits(network: Network, weights: Weights) -> Tensor:
    stream = network.begin(UNSEEN, weights)
    for number in range(network.sizes.n_layers):
        with network.layer(number, weights.read) as layer:
            network.advance(stream, number, layer)
    return network.logits(stream, weights)


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: f"{model[0]}-{'tied' if model[1] else 'untied'}")
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    architecture, tied = request.param
    return made(tmp_path_factory.mktemp(architecture), architecture, tied=tied)


def made(folder: Path, architecture: str, *, tied: bool, config: dict[str, Any] | None = None) -> Original:
    checkpoint = open_checkpoint(write_tiny_model(folder / "tiny", architecture, tied=tied, config=config))
    assert (f"{HEAD}.weight" in checkpoint.tensors) is not tied
    network = Network(checkpoint)
    folds = (*expand(folds_of(architecture), network.sizes), head_fold(architecture))  # a tied head is untied
    found = fold_layers(network, checkpoint, WINDOWS, folds, GIVEN)
    return Original(checkpoint, network, folds, found.choices, logits(network, Weights(checkpoint)))


@pytest.mark.parametrize("kinds", [KINDS, *((kind,) for kind in KINDS)], ids="+".join)
def test_the_function_stays_and_the_weights_change(original: Original, kinds: tuple[str, ...]) -> None:
    folds = tuple(fold for fold in original.folds if fold.kind in kinds)
    changed = original.changes(folds)
    assert original.stays(changed)

    assert changed.keys() == {name for fold in folds for name in touched(fold, original.checkpoint.tensors)}
    for name, change in changed.items():
        before = Weights(original.checkpoint).read(name)
        moved = (change.apply(before) - before).abs()
        assert (moved > 0.05 * before.abs()).float().mean() > 0.2, name


def test_turning_leaves_the_function_and_no_loud_channel(original: Original) -> None:
    if not rotates(original.checkpoint.architecture):
        with pytest.raises(BadInput, match=r"rotate is not exact here.*exact for: .*GemmaForCausalLM, .*Llama"):
            original.rotated()
        return
    rotated = original.rotated()
    assert original.stays(rotated)
    assert original.stays(original.changes(original.folds, rotated))

    norms = tuple(fold for fold in original.folds if fold.kind == "norm")
    ranges = original.ranges(rotated)
    for fold in norms:  # one loud channel of 64 before
        assert loudness(ranges[fold]) < 5 < loudness(original.ranges({})[fold]), fold


def test_outliers_shrink(original: Original) -> None:
    loud, smooth = original.ranges({}), original.ranges(original.changes(original.folds))
    for fold in original.folds:
        if not loud[fold].any():  # an expert that no token went to
            continue
        if fold.kind == "norm":
            assert loud[fold].argmax() == LOUD_CHANNEL
        assert loudness(smooth[fold]) < 0.6 * loudness(loud[fold]), fold


def test_a_wrong_change_shows(original: Original) -> None:
    """Each thing that is done in the first layer, left undone once, moves the logits far beyond the bound."""
    rotated = original.rotated() if rotates(original.checkpoint.architecture) else None
    changed = dict(original.changes(original.folds, rotated))
    for name in changed:
        if ".layers." in name and ".layers.0." not in name:
            continue
        for wrong in undone(changed[name]):
            assert original.difference({**changed, name: wrong}) > 10 * MAX_RELATIVE_DIFFERENCE, (name, wrong)


class Watch:
    """Chooses to fold nothing, and keeps the ranges that it was shown."""

    keep_every = 0

    def __init__(self) -> None:
        self.ranges: dict[Fold, Tensor] = {}

    def __call__(
        self, folds: Sequence[Fold], seen: Mapping[Fold, ReaderInputs], tensors: LayerTensors
    ) -> dict[Fold, FoldScales]:
        self.ranges.update({fold: seen[fold].ranges(fold) for fold in folds})
        return {}


def undone(change: TensorChange) -> Iterator[TensorChange]:
    """The change with one of the things that it does left out."""
    if change.rows is not None:
        yield replace(change, rows=None)
    if change.columns is not None:
        yield replace(change, columns=None)
    if change.gain is not None:
        yield replace(change, gain=None)
    if change.rotated_axis is not None:
        yield replace(change, rotated_axis=None)
    if change.ones:
        yield replace(change, ones=False)
    if change.offset:
        yield replace(change, offset=0.0)


def loudness(ranges: Tensor) -> float:
    return (ranges.max() / ranges.median()).item()
