"""What `--device cuda` computes is what `--device cpu` does, but for rounding. Runs where torch sees a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from smoothdroid.host.model.calibration.smooth_checkpoint import smooth_checkpoint
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.provenance.manifest import AutoAlpha, Smoothing, SmoothingOutcome
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, architecture_of
from smoothdroid.host.model.smoothquant.folds import KINDS
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChanges
from smoothdroid.host.model.texts.prose import Prose
from tests.host.model.tiny_models import PROSE, write_tiny_model

if not torch.cuda.is_available():
    pytest.skip("torch sees no GPU here: --device cuda", allow_module_level=True)

TEXT = Prose("numbered", "".join(f"{number}. {PROSE}" for number in range(400)))


def smooth(
    folder: Path, device: str, alpha: float | AutoAlpha, *, rotate: bool
) -> tuple[TensorChanges, SmoothingOutcome]:
    settings = Smoothing(
        alpha=alpha if isinstance(alpha, AutoAlpha) else dict.fromkeys(KINDS, alpha),
        folds=KINDS,
        rotate=rotate,
        untie=True,
        n_samples=8,
        seq_len=64,
        seed=0,
        calibration_text=TEXT.name,
        calibration_sha256=TEXT.sha256,
    )
    steps: list[str] = []
    return smooth_checkpoint(
        open_checkpoint(folder), settings, [TEXT], folder, device=torch.device(device), say=steps.append
    )


@pytest.mark.parametrize(
    ("architecture", "rotate"),
    [(name, rotate) for name in ARCHITECTURES for rotate in {False, architecture_of(name).rotates}],
)
def test_the_same_folds(tmp_path: Path, architecture: str, rotate: bool) -> None:
    folder = write_tiny_model(tmp_path / "tiny", architecture)
    there, here = smooth(folder, "cuda", 0.5, rotate=rotate), smooth(folder, "cpu", 0.5, rotate=rotate)
    assert there[0].keys() == here[0].keys()
    assert there[1].alphas == here[1].alphas
    assert there[1].calibrated_in == here[1].calibrated_in
    for name, change in here[0].items():
        for scales, same in ((change.columns, there[0][name].columns), (change.rows, there[0][name].rows)):
            assert (scales is None) == (same is None)
            if scales is not None and same is not None:
                torch.testing.assert_close(same.cpu(), scales, rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("kernel", ["ggml", "kleidiai"])
def test_the_same_choice(tmp_path: Path, kernel: str) -> None:
    folder = write_tiny_model(tmp_path / "tiny", "LlamaForCausalLM")
    auto = AutoAlpha(kernel=kernel, quantisation="q8_0")
    there, here = (smooth(folder, device, auto, rotate=False)[1] for device in ("cuda", "cpu"))
    assert there.chosen == here.chosen
    assert there.held_out
    assert here.held_out
    assert there.held_out.kld == pytest.approx(here.held_out.kld, rel=0.05)
