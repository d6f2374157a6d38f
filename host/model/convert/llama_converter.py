"""Run llama.cpp's own converter in this process, with tensors changed on their way into the GGUF.

The converter reads tensors lazily and writes each as it is computed, so the changes are part of its stream: there is
no folded checkpoint and no file of 16-bit floats in between. It is entered at three places: where it lists a
checkpoint's tensors, where it takes Llama 2's kind of vocabulary from a tokenizer.json, and where it writes. A process
that runs it must not import the `gguf` package: the converter brings its own.
"""

# ruff: noqa: ANN401 - the converter is imported at run time and has no types here

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.weights import TIED, Weights, require_finite
from smoothdroid.host.model.convert.conversion_errors import explained
from smoothdroid.host.model.convert.gguf_layout import require_layout
from smoothdroid.host.model.convert.token_ids import by_token_id
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, EMBEDDING, HEAD
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange

# Two-dimensional, and yet never quantised (`prepare_tensors` in llama.cpp's conversion/base.py).
ROUTERS = ("FFN_GATE_INP", "FFN_GATE_INP_SHEXP")

# Tensors as large as a layer, which the converter hands to the GGUF unchanged.
LARGE = (f"{EMBEDDING}.weight", f"{HEAD}.weight")


@dataclass(frozen=True)
class GgufRequest:
    """The GGUF that the converter is to write; with `output` None, it stops before the weights and writes none."""

    matrices: str
    output: Path | None
    name: str
    head: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def run_converter(llama_cpp: Path, checkpoint: Path, weights: Weights, request: GgufRequest) -> None:
    """Convert the checkpoint in the folder `checkpoint`, whose tensors are those of `weights`.

    Raises BadInput where the converter cannot make sense of the vocabulary or of a tensor, or where llama.cpp would
    not load what it makes; before any weight is written.
    """
    sys.path.insert(0, str(llama_cpp))
    converter: Any = __import__("convert_hf_to_gguf")
    base: Any = converter.ModelBase
    lazy: Any = sys.modules[base.__module__].LazyTorchTensor
    conversion = _Conversion(checkpoint, weights, request, converter.gguf)
    in_parts = _in_parts(lazy, converter.gguf)
    base.index_tensors = _changing(base.index_tensors, lazy, in_parts, weights)
    base.write = conversion.writing(base.write)
    if hasattr(converter.gguf, "LlamaHfVocab"):
        converter.gguf.LlamaHfVocab = by_token_id(
            converter.gguf.LlamaHfVocab, converter.gguf, checkpoint, conversion.embedding_rows
        )
    outtype = "q8_0" if request.matrices == "q4_0" else request.matrices  # the converter knows no q4_0
    output = request.output or checkpoint / "nothing.gguf"
    sys.argv = [converter.__file__, str(checkpoint), "--outtype", outtype, "--outfile", str(output)]
    sys.argv += ["--model-name", request.name]
    with explained(checkpoint, lambda: conversion.model):
        converter.main()
    conversion.model = None  # and with it what it holds of the checkpoint


class _Conversion:
    """One run of the converter. `model`: its object for the checkpoint, from when it begins to write."""

    def __init__(self, checkpoint: Path, weights: Weights, request: GgufRequest, gguf: Any) -> None:
        self._checkpoint, self._weights, self._request, self._gguf = checkpoint, weights, request, gguf
        self.model: Any = None

    def writing(self, write: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return the converter's `write` with our metadata, with the types requested, and with a check before."""

        def written(model: Any) -> None:
            self.model = model
            for key, value in self._request.metadata.items():
                model.gguf_writer.add_string(key, value)
            if self._request.matrices == "q4_0":
                model.ftype = self._gguf.LlamaFileType.MOSTLY_Q4_0
                model.tensor_force_quant = partial(_q4_0, model, self._gguf, model.tensor_force_quant)
            if self._request.head:
                head = getattr(self._gguf.GGMLQuantizationType, self._request.head.upper())
                model.tensor_force_quant = partial(_head, _head_name(self._weights), head, model.tensor_force_quant)
            begin = model.gguf_writer.write_header_to_file

            def check_first(*arguments: Any, **options: Any) -> None:
                self._check_layout()
                if not self._request.output:
                    raise _StopBeforeWriting
                begin(*arguments, **options)

            model.gguf_writer.write_header_to_file = check_first
            with suppress(_StopBeforeWriting):
                write(model)

        return written

    def _check_layout(self) -> None:
        """Raise BadInput where llama.cpp would not load what is about to be written."""
        writer = self.model.gguf_writer
        metadata = {key: value.value for part in writer.kv_data for key, value in part.items()}
        shapes = {name: tuple(tensor.shape) for part in writer.tensors for name, tensor in part.items()}
        require_layout(self._checkpoint.name, metadata, shapes)

    def embedding_rows(self) -> int | None:
        """Return the rows of the embedding that is about to be written."""
        tensors = {name: tensor for part in self.model.gguf_writer.tensors for name, tensor in part.items()}
        embedding = tensors.get("token_embd.weight")
        return int(embedding.shape[0]) if embedding else None


class _StopBeforeWriting(Exception):
    """A signal that ends the converter before it writes."""


def _changing(index_tensors: Callable[..., Any], lazy: Any, in_parts: Any, weights: Weights) -> Callable[..., Any]:
    """Return the converter's function that lists tensors, with each tensor checked and changed when it is read."""
    changes = weights.changes

    def changed(self: Any, *arguments: Any, **options: Any) -> dict[str, Callable[[], Tensor]]:
        tensors: dict[str, Callable[[], Tensor]] = index_tensors(self, *arguments, **options)
        for name, source in TIED.items():
            if name in changes and name not in tensors:  # a rotation unties the head
                tensors[name] = tensors[source]
        if unknown := sorted(changes.keys() - tensors.keys()):
            raise BadInput(f"{self.dir_model}: llama.cpp's converter does not see {unknown[0]}, which is to be folded.")
        return {
            name: partial(in_parts, weights, name)
            if in_parts and name in LARGE
            else partial(_lazily, lazy, name, give, changes.get(name))
            for name, give in tensors.items()
        }

    return changed


def _in_parts(lazy: Any, gguf: Any) -> Any:
    """Return a function that makes a lazy tensor of `LARGE`: read, changed, quantised and written some rows at a time.

    None where this llama.cpp cannot write in chunks: then it takes more memory.
    """
    if not hasattr(gguf, "LazyChunkedTensor"):
        return None

    class InParts(lazy):  # type: ignore[misc]
        _tensor_type = torch.Tensor
        parts: tuple[Callable[[], Any], ...] = ()

        def numpy(self) -> Any:
            # Where the converter has done something to the tensor, it is another one, without parts.
            return gguf.LazyChunkedTensor(list(self.parts), self.shape, "float32") if self.parts else super().numpy()

    def make(weights: Weights, name: str) -> Any:
        tensor = InParts(
            meta=lazy.meta_with_dtype_and_shape(torch.float32, weights.shape(name)), args=(name,), func=weights.read
        )
        tensor.parts = tuple(partial(_numpy, part) for part in weights.lazy_parts(name))
        return tensor

    return make


def _numpy(part: Callable[[], Tensor]) -> Any:
    return part().numpy()


def _lazily(lazy: Any, name: str, give: Callable[[], Any], change: TensorChange | None) -> Any:
    tensor = give()
    dtype = torch.float32 if change else tensor.dtype
    meta = lazy.meta_with_dtype_and_shape(dtype, tuple(tensor.shape))
    return lazy(meta=meta, args=(tensor,), func=partial(_apply, name, change))


def _apply(name: str, change: TensorChange | None, tensor: Tensor) -> Tensor:
    require_finite(name, tensor)
    return change.apply(tensor) if change else tensor


def _q4_0(
    model: Any, gguf: Any, force: Callable[..., Any], name: str, new_name: str, bid: int | None, n_dims: int
) -> Any:
    """Return the type that a tensor gets, as the converter's `tensor_force_quant`; False leaves it to the converter."""
    forced = force(name, new_name, bid, n_dims)
    routers = (getattr(gguf.MODEL_TENSOR, router) for router in ROUTERS)
    if not isinstance(forced, bool) or any(model.match_model_tensor_name(new_name, key, bid) for key in routers):
        return forced
    return gguf.GGMLQuantizationType.Q4_0 if new_name.endswith(".weight") else forced


def _head(
    head_name: str, wanted: Any, force: Callable[..., Any], name: str, new_name: str, bid: int | None, n_dims: int
) -> Any:
    """Return the type that a tensor gets, as the converter's `tensor_force_quant`, with the head of the type wanted."""
    return wanted if new_name == head_name else force(name, new_name, bid, n_dims)


def _head_name(weights: Weights) -> str:
    """Return the name in the GGUF of the tensor that llama.cpp multiplies by for the logits."""
    row, head = ARCHITECTURES.get(weights.checkpoint.architecture), f"{HEAD}.weight"
    own = head in weights.checkpoint.tensors or head in weights.changes
    return "output.weight" if own and (row is None or row.own_head) else "token_embd.weight"
