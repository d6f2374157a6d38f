"""The builds of llama.cpp for each ABI and ISA level, and the choice of one for a phone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone

# llama-cli of this llama.cpp is a chat client on top of the server; plain text completion has its own tool.
PHONE_TOOLS = ("llama-bench", "llama-completion", "llama-perplexity")
SHARED_TOOLS = (*PHONE_TOOLS, "llama-cli")
HOST_TOOLS = ("llama-bench", "llama-completion", "llama-quantize", "llama-perplexity")


@dataclass(frozen=True)
class Variant:
    """One ABI at one ISA level."""

    abi: str
    """`arm64-v8a` or `x86_64` as Android names them, or `host` for this machine."""
    isa: str
    needs: frozenset[str]
    """The features in /proc/cpuinfo that the binaries need; without them they die of SIGILL."""
    cmake: tuple[str, ...]
    """The options of llama.cpp's cmake files."""
    shared: bool = False
    """True where the libraries and kernels are loaded at run time, which needs an NDK."""

    @property
    def name(self) -> str:
        """ABI and ISA level in one word: `arm64-v8a-i8mm`."""
        return f"{self.abi}-{self.isa}"

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that are built."""
        return HOST_TOOLS if self.abi == "host" else SHARED_TOOLS if self.shared else PHONE_TOOLS


def _arm(isa: str, march: str, needs: str) -> Variant:
    return Variant("arm64-v8a", isa, frozenset(needs.split()), ("-DGGML_NATIVE=OFF", f"-DGGML_CPU_ARM_ARCH={march}"))


def _x86(isa: str, options: str, needs: str) -> Variant:
    # Each is named: all are off where llama.cpp is cross-compiled.
    return Variant(
        "x86_64",
        isa,
        frozenset(needs.split()),
        ("-DGGML_NATIVE=OFF", *(f"-DGGML_{name}=ON" for name in options.split())),
    )


# From the least to the most demanding: a later one is faster wherever it runs. There is none with SVE2 or bf16, as
# llama.cpp 0c1e57098 has nothing there for Q8_0 and Q4_0. Their weights are laid out for NEON's kernels with dotprod or
# i8mm, for SVE's only where its vectors have 256 bits, which no phone has; bf16's instructions it never uses on ARM.
VARIANTS: tuple[Variant, ...] = (
    _arm("v8.0", "armv8-a", "asimd"),
    _arm("dotprod", "armv8.2-a+dotprod", "asimd asimddp"),
    _arm("fp16", "armv8.2-a+dotprod+fp16", "asimd asimddp fphp asimdhp"),
    _arm("i8mm", "armv8.2-a+dotprod+fp16+i8mm", "asimd asimddp fphp asimdhp i8mm"),
    _x86("sse4.2", "SSE42", "sse4_2 popcnt"),  # Android's x86_64 promises it
    _x86("avx2", "SSE42 AVX AVX2 BMI2 FMA F16C", "sse4_2 popcnt avx avx2 fma f16c bmi2"),
    Variant("host", "native", frozenset(), ("-DGGML_NATIVE=ON",)),
)

_AT_RUN_TIME = (
    "-DGGML_NATIVE=OFF",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_CPU_ALL_VARIANTS=ON",
    # llama-cli is a client of the server's code; the server's web page would be downloaded.
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)
EVERY_LEVEL = "all"
SHARED: tuple[Variant, ...] = (
    Variant("arm64-v8a", EVERY_LEVEL, frozenset({"asimd"}), _AT_RUN_TIME, shared=True),
    Variant("x86_64", EVERY_LEVEL, frozenset({"sse4_2"}), _AT_RUN_TIME, shared=True),
)
"""Every level in one build: llama.cpp's loader asks the CPU and takes the best library of kernels."""

KERNEL_LIBRARIES: Mapping[str, frozenset[str]] = {
    f"libggml-cpu-android_{name}.so": frozenset(needs.split())
    for name, needs in {
        "armv8.0_1": "",
        "armv8.2_1": "asimddp",
        "armv8.2_2": "asimddp asimdhp",
        "armv8.6_1": "asimddp asimdhp i8mm",
        "armv9.0_1": "asimddp asimdhp i8mm sve",
        "armv9.2_1": "asimddp asimdhp i8mm sve",
        "armv9.2_2": "asimddp asimdhp i8mm sve",
    }.items()
}
"""The features that llama.cpp (ggml/src/CMakeLists.txt) builds each library of kernels for."""

KLEIDIAI = "+kleidiai"

ABIS = tuple(dict.fromkeys(variant.abi for variant in VARIANTS))


def with_kleidiai(variant: Variant) -> Variant:
    """Return the same level with KleidiAI's kernels, which check the CPU themselves. Raises BadInput for another ABI.

    It is a level of its own, chosen only by name: its arithmetic differs, and so does the quality.
    """
    if variant.abi != "arm64-v8a":
        raise BadInput(f"KleidiAI has kernels for arm64-v8a, and none for {variant.abi}: leave --kleidiai out")
    return replace(variant, isa=variant.isa + KLEIDIAI, cmake=(*variant.cmake, "-DGGML_CPU_KLEIDIAI=ON"))


def find(abi: str, isa: str) -> Variant:
    """Return the variant of that name. Raises BadInput naming those that exist."""
    for variant in (*VARIANTS, *SHARED):
        if (variant.abi, variant.isa) == (abi, isa.removesuffix(KLEIDIAI)):
            return with_kleidiai(variant) if isa.endswith(KLEIDIAI) else variant
    levels = {known: [v.isa for v in (*VARIANTS, *SHARED) if v.abi == known] for known in ABIS}
    known = "; ".join(f"{name}: {', '.join(isas)}" for name, isas in levels.items())
    raise BadInput(f"no build is called --abi {abi} --isa {isa}. There are {known}")


def runnable(abi: str, features: Collection[str]) -> Sequence[Variant]:
    """Return the levels of `abi` that a CPU with these features runs, best first; `host` runs on this machine."""
    fits = [variant for variant in VARIANTS if variant.abi == abi and variant.needs <= set(features)]
    return fits[::-1]


def usable(abi: str, features: Collection[str]) -> Sequence[Variant]:
    """Return the builds that a phone can use, best first: one that holds every level, then single levels."""
    every = [variant for variant in SHARED if variant.abi == abi and variant.needs <= set(features)]
    return [*every, *runnable(abi, features)]


@dataclass(frozen=True)
class Choice:
    """The best level for a phone."""

    level: Variant | None
    reason: str
    """The reason for no better one, in words."""


def explain(phone: Phone) -> Choice:
    """Return the best single level that every CPU of a phone runs, and what the next better one lacks there."""
    levels = [variant for variant in VARIANTS if variant.abi == phone.abi]
    fits = runnable(phone.abi, phone.features)
    best = fits[0] if fits else None
    reasons = [f"every CPU has {', '.join(sorted(best.needs))}"] if best and best.needs else []
    if not levels:
        reasons.append(f"there is no build for {phone.abi or 'a CPU that does not report its ABI'}")
    elif best is not levels[-1]:
        following = levels[levels.index(best) + 1] if best else levels[0]
        lacking = sorted(following.needs - set(phone.features))
        reasons.append(f"{following.isa} needs {', '.join(lacking)}: " + "; ".join(_lacked(phone, lacking)))
    if phone.unseen_cpus:
        # Linux compares a CPU that comes up with the features promised to programs, and leaves it off if it has less.
        reasons.append(
            f"/proc/cpuinfo does not list CPUs {', '.join(map(str, phone.unseen_cpus))}: they are off, and Linux, "
            "unless it is very old, starts none with less than the others"
        )
    if best is None and "thumb" in phone.features:
        reasons.append("the features were read by a 32-bit process, or the phone is a 32-bit one")
    return Choice(best, "; ".join(reasons))


def _lacked(phone: Phone, words: Sequence[str]) -> list[str]:
    """Return a phrase for each group of CPUs, with the features that they lack."""
    by_cpus: dict[str, list[str]] = {}
    for word in words:
        cpus = phone.lacking.get(word)
        where = f"CPUs {_with_names(phone, cpus)} lack" if cpus else "no CPU has"
        if not cpus and word in phone.withheld:
            where = "/proc/cpuinfo names, and the kernel's hwcaps withhold,"
        by_cpus.setdefault(where, []).append(word)
    return [f"{where} {', '.join(lacked)}" for where, lacked in by_cpus.items()]


def _with_names(phone: Phone, cpus: Sequence[int]) -> str:
    name = {cpu: cluster.name for cluster in phone.clusters for cpu in cluster.cpus}
    kinds = list(dict.fromkeys(name.get(cpu, "unknown") for cpu in cpus))
    return f"{', '.join(map(str, cpus))} ({', '.join(kinds)})"


def choose(
    abi: str | None, isa: str | None, phones: Sequence[tuple[str, Collection[str]]], *, shared: bool = False
) -> list[Variant]:
    """Choose the builds: the named level, else the best for each of the attached phones, else every level.

    `phones` are (ABI, features); without `abi`, theirs are built, and arm64-v8a where there is none. `shared`: a
    build can hold every level, and does.
    Raises BadInput for an ABI or a level that does not exist, and for phones that can run none.
    """
    if abi is not None and abi not in ABIS:
        raise BadInput(f"no build is called --abi {abi}. There are {', '.join(ABIS)}")
    if isa is not None:
        return [find(abi or "arm64-v8a", isa)]
    fitting = [(theirs, features) for theirs, features in phones if abi in (None, theirs)]
    if not fitting:
        levels = [variant for variant in VARIANTS if variant.abi == (abi or "arm64-v8a")]
        every = [variant for variant in SHARED if variant.abi == (abi or "arm64-v8a")]
        return every if shared and every else levels
    best = [(usable if shared else runnable)(theirs, features)[:1] for theirs, features in fitting]
    if not any(best):
        raise BadInput(
            f"no attached phone runs any of the builds: {', '.join(sorted({theirs for theirs, _ in fitting}))}"
        )
    return list(dict.fromkeys(variant for first in best for variant in first))
