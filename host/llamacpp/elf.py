"""Check the ELF files of a build: CPU, loader, libraries, alignment and instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.llamacpp.instructions import ARCHITECTURES, hits

MACHINES = {"arm64-v8a": "EM_AARCH64", "x86_64": "EM_X86_64"}
BIONIC_LOADER = "/system/bin/linker64"
PAGE_BYTES = 16 << 10  # Android 15 runs on phones with pages of 16 KiB; their loader refuses a file aligned to less

# developer.android.com/ndk/guides/stable_apis: the libraries that every phone has and that a program may ask for.
_NAMES = (
    "EGL GLESv1_CM GLESv2 GLESv3 OpenMAXAL OpenSLES aaudio amidi android binder_ndk c camera2ndk dl icu jnigraphics "
    "log m mediandk nativehelper nativewindow neuralnetworks stdc++ sync vulkan z"
)
PUBLIC = frozenset(f"lib{name}.so" for name in _NAMES.split())


@dataclass(frozen=True)
class Elf:
    """The properties of a 64-bit ELF file that decide if a phone runs it."""

    machine: str
    """`EM_AARCH64` and the like, the names of elf.h."""
    interpreter: str | None
    """The loader; None for a library, and for a static program."""
    needed: tuple[str, ...]
    """The libraries that it cannot be loaded without."""
    alignment_bytes: int
    """The smallest of its LOAD segments."""
    instructions: frozenset[str]
    """The extensions of which its code has instructions, of those that host/llamacpp/instructions.py knows."""


def read(file: Path) -> Elf:
    """Return the properties of an ELF file. Raises BadInput when `file` is no whole ELF file."""
    try:
        with file.open("rb") as stream:
            elf = ELFFile(stream)
            loads, interpreter = [], None
            for segment in elf.iter_segments():
                if segment["p_type"] == "PT_LOAD":
                    loads.append(int(segment["p_align"]))
                elif isinstance(segment, InterpSegment):
                    interpreter = str(segment.get_interp_name())
            needed: list[str] = []
            found: Counter[str] = Counter()
            for section in elf.iter_sections():
                if isinstance(section, DynamicSection):
                    needed += [str(vars(tag)["needed"]) for tag in section.iter_tags("DT_NEEDED")]
                elif section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and elf["e_machine"] in ARCHITECTURES:
                    found.update(hits(elf["e_machine"], section.data()))
            machine = str(elf["e_machine"])
            used = frozenset(name for name, count in found.items() if count >= ARCHITECTURES[machine].least)
            return Elf(machine, interpreter, tuple(needed), min(loads, default=0), used)
    except (ELFError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise BadInput(f"{file} is no whole ELF file ({error or type(error).__name__})") from error


@dataclass(frozen=True)
class Claim:
    """The instruction set extensions that a file must and may use."""

    uses: frozenset[str] = frozenset()
    """The extensions that it must use; without them it is slower than its ISA level promises."""
    may: frozenset[str] = frozenset()
    """The extensions that it may use besides."""
    chooses: bool = False
    """True for code that checks the CPU itself, and may use any extension (KleidiAI)."""


def faults(found: Elf, abi: str, *, interpreter: str | None, shipped: Collection[str], claim: Claim) -> list[str]:
    """Return the faults of a file of a build for `abi`, in words; `shipped` are the libraries that go with it.

    `interpreter` is the loader that it must have: None for a library and for a static program.
    """
    wrong = []
    if found.machine != MACHINES[abi]:
        wrong.append(f"it is for {found.machine.removeprefix('EM_')}, not for {abi}")
    if found.interpreter != interpreter:
        wrong.append(f"its loader is {found.interpreter or 'missing'}, where {interpreter or 'none'} was expected")
    allowed = {*shipped, *PUBLIC} if interpreter or shipped else set()
    if missing := sorted(set(found.needed) - allowed):
        wrong.append(f"it needs {', '.join(missing)}, which no phone has and which is not shipped with it")
    if found.alignment_bytes < PAGE_BYTES:
        wrong.append(
            f"its segments are aligned to {found.alignment_bytes} bytes: a phone with pages of {PAGE_BYTES} does not "
            "load it"
        )
    if unused := sorted(claim.uses - found.instructions):
        wrong.append(f"it has no instruction of {', '.join(unused)}, for which it was built")
    if not claim.chooses and (surprises := sorted(found.instructions - claim.uses - claim.may)):
        wrong.append(f"it has instructions of {', '.join(surprises)}, of which a CPU that it is for may die")
    return wrong


Claims = Mapping[Path, tuple[str | None, Claim]]
"""The loader of each file, and the extensions that it must and may use."""


def check(files: Claims, abi: str, *, shipped: Collection[str]) -> None:
    """Check each file against its interpreter and its claim. Raises BadInput with every fault of every file."""
    wrong = [
        f"{file.name}: {fault}"
        for file, (interpreter, claim) in files.items()
        for fault in faults(read(file), abi, interpreter=interpreter, shipped=shipped, claim=claim)
    ]
    if wrong:
        raise BadInput(
            "the build is not what was requested, and was discarded:\n  " + "\n  ".join(wrong) + "\n"
            "Unpack the compiler again, or try another version of it."
        )
