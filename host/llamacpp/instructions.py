"""Find the instruction set extensions that machine code uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Encodings = Mapping[str, tuple[tuple[int, int], ...]]
"""The (mask, value) pairs of four bytes of code, little-endian, for each extension by its word in /proc/cpuinfo. Not
all instructions of an extension, but those that every compiled kernel for it has."""

# The Arm Architecture Reference Manual's encodings (DDI 0487, chapters C4 and C7).
A64: Encodings = {
    # SDOT and UDOT: vector, by element
    "asimddp": ((0x9FE0FC00, 0x0E809400), (0x9FC0F400, 0x0F80E000)),
    # half precision: vector (three same), by element (FMLA, FMLS, FMUL, FMULX), scalar of two sources
    "asimdhp": (
        (0x9F60C400, 0x0E400400),
        (0xBFC0B400, 0x0F001000),
        (0xBFC0F400, 0x0F009000),
        (0xFFE00C00, 0x1EE00800),
    ),
    # SMMLA, UMMLA, USMMLA; USDOT: vector, by element
    "i8mm": ((0xDFE0F400, 0x4E80A400), (0xBFE0FC00, 0x0E809C00), (0xBFC0F400, 0x0F80F000)),
    # BFDOT, BFMMLA
    "bf16": ((0xBFE0FC00, 0x2E40FC00), (0xFFE0FC00, 0x6E40EC00)),
    # PTRUE: code for SVE sets up its predicates with it
    "sve": ((0xFF3EFC10, 0x2518E000),),
    # SME is left out: the compiler's own run-time library has some, behind a check of the CPU.
}


def _vex(opcode_map: int, prefix: int, opcode: int, *, length: int | None = None) -> tuple[int, int]:
    """Return the pair of an instruction with a three-byte VEX prefix; map 2 is 0F38, map 3 0F3A."""
    # Prefixes: 66 is 1, F3 is 2, F2 is 3.
    mask, value = 0xFF0000FF | 0x1F << 8 | 0x03 << 16, 0xC4 | opcode_map << 8 | prefix << 16 | opcode << 24
    return (mask, value) if length is None else (mask | 0x04 << 16, value | (length == 256) << 18)


# Intel's Software Developer's Manual, volume 2.
X86: Encodings = {
    # VPMADDUBSW, VPSIGNB, VPBROADCASTD, VPERMD, all of 256 bits
    "avx2": tuple(_vex(2, 1, opcode, length=256) for opcode in (0x04, 0x08, 0x58, 0x36)),
    # VFMADD132, 213 and 231, packed and scalar
    "fma": tuple(_vex(2, 1, opcode) for opcode in (0x98, 0xA8, 0xB8, 0x99, 0xA9, 0xB9)),
    # VCVTPH2PS, VCVTPS2PH
    "f16c": (_vex(2, 1, 0x13), _vex(3, 1, 0x1D)),
    # SHLX, SARX, SHRX, RORX
    "bmi2": (*(_vex(2, prefix, 0xF7, length=128) for prefix in (1, 2, 3)), _vex(3, 3, 0xF0, length=128)),
}


@dataclass(frozen=True)
class Architecture:
    """The instructions of an architecture, and their layout in memory."""

    extensions: Encodings
    step: int
    """Bytes between two places where an instruction may begin."""
    least: int
    """The least number of hits that is not chance."""


ARCHITECTURES: Mapping[str, Architecture] = {
    "EM_AARCH64": Architecture(A64, step=4, least=1),
    # An instruction may begin anywhere, so the middle of others is read too. In code of 10 MB a pattern of 24 bits is
    # there by chance about once; a file built for an extension has hundreds.
    "EM_X86_64": Architecture(X86, step=1, least=16),
}
"""The architectures by the machine's name in elf.h."""


def hits(machine: str, code: bytes) -> dict[str, int]:
    """Return the number of instructions in `code` of each extension of `machine`."""
    architecture = ARCHITECTURES[machine]
    found = dict.fromkeys(architecture.extensions, 0)
    for begin in range(0, 4, architecture.step):
        rest = code[begin:]
        words: npt.NDArray[np.uint32] = np.frombuffer(rest, dtype="<u4", count=len(rest) // 4)
        for name, encodings in architecture.extensions.items():
            for mask, value in encodings:
                found[name] += int(np.count_nonzero((words & np.uint32(mask)) == np.uint32(value)))
    return found
