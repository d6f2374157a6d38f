"""The model as transformers runs it, one decoder layer at a time: no more than one layer's weights in memory.

transformers' own code computes everything. The model is made without memory for its weights (on torch's "meta"
device); one run of it with stand-ins for the layers shows what each layer is called with; then each layer is given
its weights, run on all windows, and emptied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.transformers_loading import empty_model, require_shapes
from smoothdroid.host.model.calibration.windows import ReaderInputs
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING, HEAD, LAYER, architecture_of
from smoothdroid.host.model.smoothquant.folds import Sizes, fill

BATCH_TOKENS = 1024
"""The tokens that go through a layer together. More take more memory and are no faster on a CPU."""

ReadLayer = Callable[[str], Tensor]
"""A function that gives the tensor of a name, for a layer to compute with."""


Rounding = Callable[[Tensor], Tensor]
"""The effect of storing on rows of a weight."""


@dataclass
class Batch:
    """Windows on their way through the layers."""

    hidden: Tensor
    """The input of the next layer, [windows, tokens, channels]."""
    calls: list[dict[str, Any]]
    """The other arguments of each layer, the same whatever the weights are."""


HiddenStates = list[Batch]


class Network:
    """A checkpoint's network without its weights. Raises BadInput where config.json makes none, or another one."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device | None = None) -> None:
        """Make the network on `device`, the CPU by default, and compare its shapes with the checkpoint's."""
        self.device = device or torch.device("cpu")
        self._checkpoint = checkpoint
        self._model, config = empty_model(checkpoint)
        self._inner: Any = self._model.model
        self._layers = list(self._inner.layers)
        self._architecture = architecture_of(checkpoint.architecture)
        self._final = self._architecture.final_norm
        self._norm = self._model.get_submodule(self._final)
        self.sizes = Sizes(
            n_layers=len(self._layers),
            n_heads=config.num_attention_heads,
            n_kv_heads=config.num_key_value_heads,
            n_experts=getattr(config, "num_local_experts", 0) or getattr(config, "num_experts", 0) or 0,
        )
        self.hidden_size = int(config.hidden_size)
        require_shapes(checkpoint, self._model)

    @torch.inference_mode()
    def begin(
        self,
        windows: Tensor,
        weights: Weights,
        dtype: torch.dtype = torch.float32,
        rounding: Rounding = lambda rows: rows,
    ) -> HiddenStates:
        """Embed the windows of token ids [windows, tokens], for the first layer.

        `rounding` is applied to the embedding's rows.
        """
        together = max(1, BATCH_TOKENS // windows.shape[1])
        return [self._begin(batch, weights, dtype, rounding) for batch in torch.split(windows, together)]

    def _begin(self, ids: Tensor, weights: Weights, dtype: torch.dtype, rounding: Rounding) -> Batch:
        # Only the rows that occur: the whole embedding of a large vocabulary is larger than a layer.
        used, places = torch.unique(ids, return_inverse=True)
        if (beyond := int(used[-1])) >= (number := weights.shape(f"{EMBEDDING}.weight")[0]):
            raise BadInput(
                f"{self._checkpoint.path}: the text has the token {beyond}, and the model has {number} rows: it was "
                "never trained on that token. Give a text without it."
            )
        rows = rounding(weights.rows(f"{EMBEDDING}.weight", used))
        self._inner.embed_tokens.weight = nn.Parameter(rows.to(self.device, dtype), requires_grad=False)
        calls: list[dict[str, Any]] = []
        self._inner.layers = nn.ModuleList(_Recorder(calls) for _ in self._layers)
        self._model.set_submodule(self._final, nn.Identity())
        hidden = self._inner(input_ids=places.to(self.device), use_cache=False).last_hidden_state
        return Batch(hidden, calls)

    @contextmanager
    def layer(self, number: int, read: ReadLayer) -> Iterator[nn.Module]:
        """Yield a decoder layer with the weights that `read` gives; empty it at the end."""
        layer = self._layers[number]
        prefix = LAYER.format(layer=number)
        state = {}
        for name in layer.state_dict():
            if name in self._architecture.renamed:
                state[name] = self._together(self._architecture.renamed[name], number, read)
            else:
                state[name] = read(prefix + name)
        try:
            layer.load_state_dict({name: tensor.to(self.device) for name, tensor in state.items()}, assign=True)
            del state
            layer.requires_grad_(requires_grad=False)
            yield layer
        finally:
            layer.to("meta")

    def _together(self, parts: tuple[str, ...], number: int, read: ReadLayer) -> Tensor:
        experts = range(self.sizes.n_experts)
        columns = [[read(name) for name in fill(LAYER + part, number, experts)] for part in parts]
        stacked = [torch.cat(expert) for expert in zip(*columns, strict=True)]
        return torch.stack(stacked) if "{expert}" in parts[0] else stacked[0]

    @torch.inference_mode()
    def advance(self, stream: HiddenStates, number: int, layer: nn.Module) -> None:
        """Take the windows through a layer."""
        for batch in stream:
            batch.hidden = layer(batch.hidden, **batch.calls[number])

    @torch.inference_mode()
    def head_inputs(self, stream: HiddenStates, weights: Weights, keep_every: int) -> ReaderInputs:
        """Return the inputs of the head, from windows that have been through all layers."""
        seen = ReaderInputs(keep_every)
        with self._final_norm(weights) as norm:
            for batch in stream:
                seen.add(norm(batch.hidden))
        return seen

    @torch.inference_mode()
    def logits(self, stream: HiddenStates, weights: Weights, head: nn.Module | None = None) -> Tensor:
        """Return logits [windows, tokens, vocabulary] of windows that have been through all layers, float32 on the CPU.

        `head` stands in for the head of `weights`.
        """
        with self._final_norm(weights) as norm:
            self._model.set_submodule(self._final, norm)
            self._model.lm_head = head or LmHead(weights)
            outputs = []
            for batch in stream:
                self._inner.layers = nn.ModuleList([_Given(batch.hidden)])
                outputs.append(self._model(inputs_embeds=batch.hidden, use_cache=False).logits.float().cpu())
            return torch.cat(outputs)

    @contextmanager
    def _final_norm(self, weights: Weights) -> Iterator[nn.Module]:
        state = {name: weights.read(f"{self._final}.{name}").to(self.device) for name in self._norm.state_dict()}
        self._norm.load_state_dict(state, assign=True)
        self._norm.requires_grad_(requires_grad=False)
        try:
            yield self._norm
        finally:
            self._norm.to("meta")


class _Recorder(nn.Module):
    """A stand-in for a layer that records its arguments."""

    def __init__(self, calls: list[dict[str, Any]]) -> None:
        super().__init__()
        self._calls = calls

    def forward(self, hidden: Tensor, **arguments: object) -> Tensor:
        self._calls.append(arguments)
        return hidden


class _Given(nn.Module):
    """A stand-in for the layers that returns their output."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self._hidden = hidden

    def forward(self, _hidden: Tensor, **_arguments: object) -> Tensor:
        return self._hidden


class LmHead(nn.Module):
    """The head, computed some rows at a time; `rounding` is applied to each part of its weights."""

    def __init__(self, weights: Weights, rounding: Rounding = lambda rows: rows) -> None:
        """Make the head of `weights`; nothing is read before it is used."""
        super().__init__()
        self._weights = weights
        self._rounding = rounding

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states [..., channels], float32."""
        parts = (self._rounding(rows).to(hidden.device) for rows in self._weights.parts(f"{HEAD}.weight"))
        logits = torch.cat([nn.functional.linear(hidden.float(), rows) for rows in parts], dim=-1)
        bias = f"{HEAD}.bias"
        return logits + self._weights.read(bias).to(logits) if bias in self._weights.checkpoint.tensors else logits
