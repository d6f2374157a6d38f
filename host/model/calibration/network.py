"""The model as transformers runs it, one decoder layer at a time: no more than one layer's weights in memory.

transformers' own code computes everything. The model is made without memory for its weights (on torch's "meta"
device); one run of it with stand-ins for the layers shows what each layer is called with; then each layer is given
its weights, run on all windows, and emptied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.windows import ReaderInputs
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.tensor_names import missing_advice
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING, FINAL_NORM, HEAD, LAYER, architecture_of
from smoothdroid.host.model.smoothquant.folds import Sizes, fill

# What transformers raises on a checkpoint that it cannot make sense of; it has no exception of its own.
LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    ArithmeticError,  # numbers of heads that are 0
    StrictDataclassError,  # values of another type than the config's
)

# Of windows that go through a layer together. More take more memory and are no faster on a CPU.
BATCH_TOKENS = 1024

ReadLayer = Callable[[str], Tensor]
"""From a tensor's name to the tensor that a layer is to compute with."""


Rounding = Callable[[Tensor], Tensor]
"""What storing does to rows of a weight."""


@dataclass
class Batch:
    """Windows on their way through the layers."""

    hidden: Tensor
    """[windows, tokens, channels]: what the next layer reads."""
    calls: list[dict[str, Any]]
    """By layer: what it is called with besides, the same whatever the weights are."""


HiddenStates = list[Batch]


class Network:
    """A checkpoint's network without its weights. Raises BadInput where config.json makes none, or another one."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self._checkpoint = checkpoint
        self._model, config = _empty_model(checkpoint)
        self._inner: Any = self._model.model
        self._layers = list(self._inner.layers)
        self._norm = self._inner.norm
        self._architecture = architecture_of(checkpoint.architecture)
        self.sizes = Sizes(
            n_layers=len(self._layers),
            n_heads=config.num_attention_heads,
            n_kv_heads=config.num_key_value_heads,
            n_experts=getattr(config, "num_local_experts", 0) or 0,
        )
        self.hidden_size = int(config.hidden_size)
        _require_shapes(checkpoint, self._model)

    @torch.inference_mode()
    def begin(
        self,
        windows: Tensor,
        weights: Weights,
        dtype: torch.dtype = torch.float32,
        rounding: Rounding = lambda rows: rows,
    ) -> HiddenStates:
        """The windows of token ids [windows, tokens], embedded, before the first layer.

        `rounding` is what happens to the embedding's rows.
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
        self._inner.norm = nn.Identity()
        hidden = self._inner(input_ids=places.to(self.device), use_cache=False).last_hidden_state
        return Batch(hidden, calls)

    @contextmanager
    def layer(self, number: int, read: ReadLayer) -> Iterator[nn.Module]:
        """A decoder layer with the weights that `read` gives, emptied at the end."""
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
    def seen_by_head(self, stream: HiddenStates, weights: Weights, keep_every: int) -> ReaderInputs:
        """What the head reads of windows that have been through all layers."""
        seen = ReaderInputs(keep_every)
        with self._final_norm(weights) as norm:
            for batch in stream:
                seen.add(norm(batch.hidden))
        return seen

    @torch.inference_mode()
    def logits(self, stream: HiddenStates, weights: Weights, head: nn.Module | None = None) -> Tensor:
        """Logits [windows, tokens, vocabulary] of windows that have been through all layers, float32 on the CPU.

        `head` stands in for the head of `weights`.
        """
        with self._final_norm(weights) as norm:
            self._inner.norm = norm
            self._model.lm_head = head or LmHead(weights)
            outputs = []
            for batch in stream:
                self._inner.layers = nn.ModuleList([_Given(batch.hidden)])
                outputs.append(self._model(inputs_embeds=batch.hidden, use_cache=False).logits.float().cpu())
            return torch.cat(outputs)

    @contextmanager
    def _final_norm(self, weights: Weights) -> Iterator[nn.Module]:
        weight = weights.read(f"{FINAL_NORM}.weight").to(self.device)
        self._norm.weight = nn.Parameter(weight, requires_grad=False)
        try:
            yield self._norm
        finally:
            self._norm.to("meta")


class _Recorder(nn.Module):
    """Stands where a layer is, and writes down what it is called with."""

    def __init__(self, calls: list[dict[str, Any]]) -> None:
        super().__init__()
        self._calls = calls

    def forward(self, hidden: Tensor, **arguments: object) -> Tensor:
        self._calls.append(arguments)
        return hidden


class _Given(nn.Module):
    """Stands where the layers are, and gives what came out of them."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self._hidden = hidden

    def forward(self, _hidden: Tensor, **_arguments: object) -> Tensor:
        return self._hidden


class LmHead(nn.Module):
    """The head, some rows at a time; `rounding` is what happens to each part of its weights."""

    def __init__(self, weights: Weights, rounding: Rounding = lambda rows: rows) -> None:
        super().__init__()
        self._weights = weights
        self._rounding = rounding

    def forward(self, hidden: Tensor) -> Tensor:
        parts = (self._rounding(rows).to(hidden.device) for rows in self._weights.parts(f"{HEAD}.weight"))
        return torch.cat([nn.functional.linear(hidden.float(), rows) for rows in parts], dim=-1)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the checkpoint in `folder`. Raises BadInput."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except LOADING_ERRORS as error:
        raise BadInput(f"{folder.name}: transformers cannot load its tokenizer: {error}") from error
    return cast(PreTrainedTokenizerBase, tokenizer)


def _empty_model(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """(the model without memory for its weights, its config)."""
    file = checkpoint.path / "config.json"
    n_layers = checkpoint.config.get("num_hidden_layers")
    # Every layer has tensors: a larger number would have us make layers until the memory is full.
    if type(n_layers) is not int or not 1 <= n_layers <= len(checkpoint.tensors):
        raise BadInput(
            f"{file}: num_hidden_layers is {n_layers!r}, which does not fit the {len(checkpoint.tensors)} tensors in "
            "the weight files."
        )
    library: Any = transformers
    settings = {key: value for key, value in checkpoint.config.items() if key != "auto_map"}
    try:
        config = library.CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
        with torch.device("meta"):  # tensors with a shape and no memory
            model = library.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if type(model).__name__ != checkpoint.architecture:
            raise ValueError(f"a model_type of {config.model_type!r} makes a {type(model).__name__}")
        # Buffers (rotary frequencies, Gemma's embedding scale) are in no checkpoint: transformers computes them.
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, torch.empty_like(buffer, device="cpu"))
        model.initialize_weights()
    except LOADING_ERRORS as error:
        raise BadInput(f"{file}: transformers can make no model of it: {_first_lines(error)}") from error
    return model.eval(), config


def _require_shapes(checkpoint: Checkpoint, model: Any) -> None:  # noqa: ANN401 - transformers' own
    tied = f"{HEAD}.weight" if model.config.tie_word_embeddings else None
    for name, expected in _expected(checkpoint, model):
        found = checkpoint.tensors.get(name)
        if found is None and name == tied:
            continue
        if found is None:
            raise BadInput(f"{checkpoint.path}: {missing_advice(name, checkpoint.tensors)}")
        if found.shape != expected:
            raise BadInput(
                f"{checkpoint.path}: {name} has the shape {list(found.shape)}, and by config.json it is "
                f"{list(expected)}. They do not belong together; fetch the checkpoint again."
            )


def _expected(checkpoint: Checkpoint, model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of each tensor that the checkpoint of this model has."""
    renamed = architecture_of(checkpoint.architecture).renamed
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        inner = next((inner for inner in renamed if name.endswith(f".{inner}")), None)
        if inner is None:
            yield name, shape
            continue
        layer = int(name.removesuffix(inner).split(".")[-2])
        for part in renamed[inner]:
            if "{expert}" in part:  # stacked, and with it the parts put side by side
                for each in fill(LAYER + part, layer, range(shape[0])):
                    yield each, (shape[1] // len(renamed[inner]), *shape[2:])
            else:
                yield (LAYER + part).format(layer=layer), shape


def _first_lines(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[:2])
