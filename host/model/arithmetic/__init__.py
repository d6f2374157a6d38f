"""The arithmetic of kernels, in torch: how each rounds the numbers that it multiplies.

A linear under a kernel is `activations(x) @ weights(w).T`. A kernel adds products of small integers in int32, without
rounding, and scales the sums afterwards; here both sides are float32 that carry their scales already, and the product
is the same but for the rounding of float32 sums.

Sources: llama.cpp 0c1e57098 (ggml/src/ggml-quants.c, ggml/src/ggml-cpu) and the KleidiAI v1.24.0 that it names.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.arithmetic.ggml import Ggml
from smoothdroid.host.model.arithmetic.kleidiai import Kleidiai


class Arithmetic(Protocol):
    """The arithmetic of one kernel. `quantisation` is `q8_0` or `q4_0`; both methods raise BadInput for another."""

    @property
    def name(self) -> str:
        """The kernel's name, as `--kernel` takes it."""
        ...

    def weights(self, weight: Tensor, quantisation: str) -> Tensor:
        """Return the weights that the kernel multiplies with: float32 [out, in], from the checkpoint's [out, in].

        Weights that come out of a GGUF of that quantisation are left as they are by the first step, which a file
        has gone through already. Raises BadInput where `in` is no multiple of 32.
        """
        ...

    def activations(self, activations: Tensor, quantisation: str) -> Tensor:
        """Return float32 activations [..., in] as the kernel multiplies them. Raises BadInput as `weights` does."""
        ...


_KERNELS: tuple[Arithmetic, ...] = (Ggml(), Kleidiai())
NAMES = tuple(kernel.name for kernel in _KERNELS)


def arithmetic_of(kernel: str) -> Arithmetic:
    """Return the arithmetic of the kernels of that name. Raises BadInput naming those that are known."""
    for known in _KERNELS:
        if known.name == kernel:
            return known
    raise BadInput(f"no kernels are called {kernel}. There are {', '.join(NAMES)}")
