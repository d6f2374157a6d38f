"""Rotating the residual stream: an orthogonal change of its basis, free at run time.

QuaRot (Ashkboos et al., 2024, https://arxiv.org/abs/2404.00456) and SpinQuant's R1 (Liu et al., 2024,
https://arxiv.org/abs/2405.16406). Q spreads every loud channel over all of them: all that writes into the stream is
multiplied by Q, all that reads from it by Q's inverse. RMSNorm commutes with Q once its weight has moved into its
readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# The largest factor: small enough that a multiplication by each costs little, large enough that there are few.
LARGEST_FACTOR = 64


@dataclass(frozen=True)
class Rotation:
    """A random orthogonal matrix Q [size, size], held as the Kronecker product of small ones.

    Factors that are powers of two are Hadamard matrices, which spread a channel evenly; what is odd in the size is
    a random orthogonal matrix. Random signs in front make it one of many. The same seed gives the same Q.
    """

    size: int
    seed: int

    @cached_property
    def signs(self) -> Tensor:
        """The random signs, float32 [size], each 1 or -1."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randint(0, 2, (self.size,), generator=generator).float() * 2 - 1

    @cached_property
    def factors(self) -> tuple[Tensor, ...]:
        """The orthogonal float64 matrices, the product of whose sizes is `size`."""
        generator = torch.Generator().manual_seed(self.seed)
        return tuple(_orthogonal(size, generator) for size in factor_sizes(self.size))

    def rotate_columns(self, tensor: Tensor, *, back: bool = False) -> Tensor:
        """Return tensor [..., size] @ Q, float32; with `back`, tensor @ Q^T, which undoes it."""
        signed = tensor.float() if back else tensor.float() * self.signs
        rotated = signed.reshape(-1, *map(len, self.factors))
        for axis, factor in enumerate(self.factors, start=1):
            dims = ([axis], [1 if back else 0])
            rotated = torch.tensordot(rotated, factor.to(rotated.dtype), dims=dims).movedim(-1, axis)
        rotated = rotated.reshape(tensor.shape)
        return rotated * self.signs if back else rotated

    def rotate_rows(self, tensor: Tensor, *, back: bool = False) -> Tensor:
        """Rotate the output of a linear: Q^T @ tensor for a weight [size, in], tensor @ Q for a bias [size].

        `back` undoes it.
        """
        if tensor.dim() == 1:
            return self.rotate_columns(tensor, back=back)
        return self.rotate_columns(tensor.T, back=back).T.contiguous()


def factor_sizes(size: int) -> list[int]:
    """Factor a size into powers of two up to LARGEST_FACTOR and the odd rest: [64, 9] for 576."""
    power = size & -size
    sizes = []
    while power > 1:
        sizes.append(min(power, LARGEST_FACTOR))
        power //= sizes[-1]
    odd = size // (size & -size)
    return sizes if odd == 1 else [*sizes, odd]


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    if size & (size - 1) == 0:
        matrix = torch.ones(1, 1, dtype=torch.float64)
        while len(matrix) < size:
            matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
        return matrix.div(size**0.5)
    gaussian = torch.randn(size, size, generator=generator, dtype=torch.float64)
    q: Tensor = torch.linalg.qr(gaussian).Q
    return q
