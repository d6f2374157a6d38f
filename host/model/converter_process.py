"""llama.cpp's own converter in a process of its own, with tensors changed on their way into the GGUF.

    python -m host.model.converter_process JOB.json

The converter reads tensors lazily and writes each as it is computed, so the changes are part of its stream: there is
no folded checkpoint and no file of 16-bit floats in between. It is entered at two of its methods: where it lists a
checkpoint's tensors, and where it writes. This process must not import the `gguf` package: the converter brings its
own.
"""

# ruff: noqa: ANN401 - the converter is imported at run time and has no types here

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from device.errors import BadInput, SmoothdroidError
from host.model.changes import Change, load_changes
from host.model.checkpoint import open_checkpoint
from host.model.child import Events
from host.model.convert import ConvertJob
from host.model.folds import BLOCKS, EMBEDDING, HEAD
from host.model.network import Network
from host.model.weights import TIED, Weights, require_finite

# Two-dimensional, and yet never quantised (`prepare_tensors` in llama.cpp's conversion/base.py).
ROUTERS = ("FFN_GATE_INP", "FFN_GATE_INP_SHEXP")


# As large as a layer, and given to the GGUF as they are.
LARGE = (f"{EMBEDDING}.weight", f"{HEAD}.weight")


def main(job: ConvertJob) -> None:
    """Do the job. What is wrong with the model is told to the parent; anything else is a traceback."""
    events = Events(job.events)
    try:
        _convert(job)
    except SmoothdroidError as error:
        events.failed(error)
        raise


def _convert(job: ConvertJob) -> None:
    checkpoint = open_checkpoint(job.checkpoint)
    if checkpoint.architecture in BLOCKS and not job.changes:
        Network(checkpoint)  # refuses shapes that are not config.json's; a smoothing has done so
    sys.path.insert(0, str(job.llama_cpp))
    converter: Any = __import__("convert_hf_to_gguf")
    base: Any = converter.ModelBase
    lazy: Any = sys.modules[base.__module__].LazyTorchTensor
    weights = Weights(checkpoint, load_changes(job.changes) if job.changes else {})
    in_parts = _in_parts(lazy, converter.gguf)
    base.index_tensors = _changing(base.index_tensors, lazy, in_parts, weights)
    base.write = _writing(base.write, converter.gguf, job)
    outtype = "q8_0" if job.quantisation == "q4_0" else job.quantisation  # the converter knows no q4_0
    sys.argv = [converter.__file__, str(job.checkpoint), "--outtype", outtype, "--outfile", str(job.output)]
    sys.argv += ["--model-name", job.name]
    converter.main()


def _changing(index_tensors: Callable[..., Any], lazy: Any, in_parts: Any, weights: Weights) -> Callable[..., Any]:
    """The converter's list of tensors (name -> function that gives it, lazily), each checked and changed."""
    changes = weights.changes

    def changed(self: Any, *arguments: Any, **options: Any) -> dict[str, Callable[[], Tensor]]:
        tensors: dict[str, Callable[[], Tensor]] = index_tensors(self, *arguments, **options)
        for name, source in TIED.items():
            if name in changes and name not in tensors:  # turning unties the head
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
    """A tensor of `LARGE`, lazily, that is read, changed, quantised and written some rows at a time.

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


def _lazily(lazy: Any, name: str, give: Callable[[], Any], change: Change | None) -> Any:
    tensor = give()
    dtype = torch.float32 if change else tensor.dtype
    meta = lazy.meta_with_dtype_and_shape(dtype, tuple(tensor.shape))
    return lazy(meta=meta, args=(tensor,), func=partial(_apply, name, change))


def _apply(name: str, change: Change | None, tensor: Tensor) -> Tensor:
    require_finite(name, tensor)
    return change.apply(tensor) if change else tensor


def _writing(write: Callable[[Any], None], gguf: Any, job: ConvertJob) -> Callable[[Any], None]:
    """The converter's `write`, with our metadata, and with Q4_0 where it would write Q8_0 if that is asked for."""

    def written(self: Any) -> None:
        for key, value in job.metadata.items():
            self.gguf_writer.add_string(key, value)
        if job.quantisation == "q4_0":
            self.ftype = gguf.LlamaFileType.MOSTLY_Q4_0
            self.tensor_force_quant = partial(_q4_0, self, gguf, self.tensor_force_quant)
        write(self)

    return written


def _q4_0(
    model: Any, gguf: Any, force: Callable[..., Any], name: str, new_name: str, bid: int | None, n_dims: int
) -> Any:
    """`tensor_force_quant` of the converter: the type that a tensor gets; False leaves it to the converter."""
    forced = force(name, new_name, bid, n_dims)
    routers = (getattr(gguf.MODEL_TENSOR, router) for router in ROUTERS)
    if not isinstance(forced, bool) or any(model.match_model_tensor_name(new_name, key, bid) for key in routers):
        return forced
    return gguf.GGMLQuantizationType.Q4_0 if new_name.endswith(".weight") else forced


if __name__ == "__main__":
    main(ConvertJob.model_validate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
