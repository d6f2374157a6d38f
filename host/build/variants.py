"""What to build for which phone: an ABI and an ISA level, as data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from device.errors import BadInput


@dataclass(frozen=True)
class Variant:
    """One ABI at one ISA level."""

    abi: str
    """`arm64-v8a` or `x86_64` as Android names them, or `host` for this machine."""
    isa: str
    needs: frozenset[str]
    """Words of /proc/cpuinfo's Features line without which a binary dies of SIGILL."""
    cmake: tuple[str, ...]
    """llama.cpp's own options for it."""

    @property
    def name(self) -> str:
        """`arm64-v8a-i8mm`."""
        return f"{self.abi}-{self.isa}"


def _arm(isa: str, march: str, needs: str) -> Variant:
    return Variant("arm64-v8a", isa, frozenset(needs.split()), ("-DGGML_NATIVE=OFF", f"-DGGML_CPU_ARM_ARCH={march}"))


# From the least to the most demanding: a later one is faster wherever it runs.
VARIANTS: tuple[Variant, ...] = (
    _arm("v8.0", "armv8-a", "asimd"),
    _arm("dotprod", "armv8.2-a+dotprod", "asimd asimddp"),
    _arm("fp16", "armv8.2-a+dotprod+fp16", "asimd asimddp fphp asimdhp"),
    _arm("i8mm", "armv8.2-a+dotprod+fp16+i8mm", "asimd asimddp fphp asimdhp i8mm"),
    Variant("x86_64", "avx2", frozenset({"avx2", "fma", "f16c", "bmi2"}), ("-DGGML_NATIVE=OFF",)),
    Variant("host", "native", frozenset(), ("-DGGML_NATIVE=ON",)),
)

ABIS = tuple(dict.fromkeys(variant.abi for variant in VARIANTS))


def find(abi: str, isa: str) -> Variant:
    """The variant of that name. Raises BadInput naming those that exist."""
    for variant in VARIANTS:
        if (variant.abi, variant.isa) == (abi, isa):
            return variant
    levels = {known: [v.isa for v in VARIANTS if v.abi == known] for known in ABIS}
    known = "; ".join(f"{name}: {', '.join(isas)}" for name, isas in levels.items())
    raise BadInput(f"no build is called --abi {abi} --isa {isa}. There are {known}")


def runnable(abi: str, features: Collection[str]) -> Sequence[Variant]:
    """The variants of `abi` that a CPU with these features can run, best first; `host` fits its own machine."""
    fits = [variant for variant in VARIANTS if variant.abi == abi and variant.needs <= set(features)]
    return fits[::-1]


def choose(abi: str | None, isa: str | None, phones: Sequence[tuple[str, Collection[str]]]) -> list[Variant]:
    """What to build: the level that was named, else the best for each of the phones at hand, else every level.

    `phones` are (ABI, features); without `abi`, theirs are built, and arm64-v8a where there is none.
    Raises BadInput for an ABI or a level that does not exist, and for phones that can run none.
    """
    if abi is not None and abi not in ABIS:
        raise BadInput(f"no build is called --abi {abi}. There are {', '.join(ABIS)}")
    if isa is not None:
        return [find(abi or "arm64-v8a", isa)]
    fitting = [(theirs, features) for theirs, features in phones if abi in (None, theirs)]
    if not fitting:
        return [variant for variant in VARIANTS if variant.abi == (abi or "arm64-v8a")]
    best = [runnable(theirs, features)[:1] for theirs, features in fitting]
    if not any(best):
        raise BadInput(
            f"no phone at hand runs what can be built: {', '.join(sorted({theirs for theirs, _ in fitting}))}"
        )
    return list(dict.fromkeys(variant for first in best for variant in first))
