"""The proof that an adapter on its prepared base is the function of the adapter on the base as it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.gguf.reader import GgufFile
from smoothdroid.host.model.adapter.gguf_tensors import BaseWeights, GgufTensors
from smoothdroid.host.model.adapter.peft_folder import LowRank
from smoothdroid.host.model.adapter.prepared_base import PreparedBase
from smoothdroid.host.model.calibration.layer_pass import compare, compare_in_float64, is_equivalent, logits_of
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.provenance.manifest import Equivalence
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING

WINDOWS, TOKENS = 2, 64


def prove(base: PreparedBase, original: Mapping[str, LowRank], written: Path) -> Equivalence:
    """Compare the logits of the base as it was with the adapter `original`, and of the GGUFs `base` and `written`.

    The base as it was is the GGUF's weights with the changes undone, so that what is compared differs by the changes
    alone. The tokens are random ones. Raises SmoothdroidError where the logits differ by more than rounding.
    """
    network = Network(base.checkpoint)
    tensors = GgufTensors(base, network.sizes)
    moved = {module: _read(GgufFile(written), tensors, module) for module in original}
    before = BaseWeights(base, tensors, network.sizes, original, undone=True)
    after = BaseWeights(base, tensors, network.sizes, moved, undone=False)
    vocabulary = base.checkpoint.tensors[f"{EMBEDDING}.weight"].shape[0]
    tokens = torch.randint(vocabulary, (WINDOWS, TOKENS), generator=torch.Generator().manual_seed(0))
    equivalence = compare(*(logits_of(network, weights, tokens) for weights in (before, after)))
    if not is_equivalent(equivalence):
        equivalence = compare_in_float64(network, before, after, tokens)
    if not is_equivalent(equivalence):
        raise SmoothdroidError(
            f"{base.path}: with the moved adapter the model is not the same function: a logit differs by "
            f"{equivalence.max_abs_logit_difference:.3g} in {equivalence.computed_in} (the logits' range is "
            f"{equivalence.logit_range:.3g}). Nothing was written."
        )
    return equivalence


def _read(written: GgufFile, tensors: GgufTensors, module: str) -> LowRank:
    """Return the addition to a module as llama.cpp reads it from the adapter's GGUF, in the checkpoint's order."""
    stored = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in written.tensors}
    name = tensors.name(f"{module}.weight")
    a, b = stored[f"{name}.lora_a"].float(), stored[f"{name}.lora_b"].float()
    alpha = written.value("adapter.lora.alpha")
    scale = float(alpha) / len(a) if isinstance(alpha, float) and alpha else 1.0  # llama-adapter.h: get_scale
    return LowRank(a, scale * tensors.in_order(f"{module}.weight", b))
