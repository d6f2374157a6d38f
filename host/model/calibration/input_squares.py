"""The mean squares of what each linear of a decoder layer reads, recorded while the layers run on calibration text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from smoothdroid.host.model.smoothquant.architectures import LAYER, ModelArchitecture


class InputSquares:
    """The sums of squares of the inputs of each weight of the layers, by its name in the checkpoint.

    They belong to the weights before the folds. Added up in float64, as llama-imatrix's many tokens need.
    """

    def __init__(self, architecture: ModelArchitecture) -> None:
        """Begin with none."""
        self._architecture = architecture
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, inputs: Tensor) -> None:
        """Add inputs [..., columns] of the weight `name`."""
        flat = inputs.detach().flatten(end_dim=-2)
        squares = flat.float().square().sum(dim=0, dtype=torch.float64).cpu()
        self._sums[name] = self._sums[name] + squares if name in self._sums else squares
        self._counts[name] = self._counts.get(name, 0) + len(flat)

    @contextmanager
    def recording(self, layer: nn.Module, number: int) -> Iterator[None]:
        """Record the inputs of all linears of decoder layer `number` while `layer` runs, within this context."""
        prefix = LAYER.format(layer=number)
        hooks = [
            module.register_forward_pre_hook(self._hook(f"{prefix}{name}.weight"))
            for name, module in layer.named_modules()
            if isinstance(module, nn.Linear)
        ]
        if self._architecture.experts:
            hooks.append(self._watch_experts(layer.get_submodule(self._architecture.experts), prefix))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: self.add(name, inputs[0])

    def _watch_experts(self, experts: nn.Module, prefix: str) -> RemovableHandle:
        """Record what each expert reads: transformers computes all of them in one module.

        The same arithmetic as MixtralExperts.forward in transformers 5, for the tokens that go to an expert.
        """
        fused: Any = experts
        renamed = self._architecture.renamed
        readers, writers = (
            next(parts for name, parts in renamed.items() if name.endswith(part))
            for part in ("gate_up_proj", "down_proj")
        )

        def record(_experts: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            hidden, chosen = inputs[:2]  # [tokens, channels], [tokens, experts a token]
            for number in range(len(fused.gate_up_proj)):
                routed = hidden[(chosen == number).any(dim=-1)]
                gate, up = nn.functional.linear(routed, fused.gate_up_proj[number]).chunk(2, dim=-1)
                for names, read in ((readers, routed), (writers, fused.act_fn(gate) * up)):
                    for name in names:
                        self.add(prefix + name.format(expert=number), read)

        return experts.register_forward_pre_hook(record)

    def count(self, name: str) -> int:
        """Return the number of tokens that the weight `name` has read."""
        return self._counts[name]

    def mean(self, name: str) -> Tensor:
        """Return the mean squares, float32 [columns], of what the weight `name` has read; 1 where that is nothing."""
        sums, count = self._sums[name], self._counts[name]
        return (sums / count if count else torch.ones_like(sums)).float()

    def save(self, file: Path) -> None:
        """Write the mean squares by name, and the tokens of each mean, to a safetensors file."""
        means = {name: self.mean(name) for name in self._sums}
        save_file(means, file, metadata={"counts": json.dumps(self._counts)})
