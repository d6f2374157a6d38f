"""ELF files made by the real zig, and what is read off them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.llamacpp.elf import BIONIC_LOADER, PAGE_BYTES, Claim, Elf, check, faults, read
from smoothdroid.host.llamacpp.instructions import ARCHITECTURES
from smoothdroid.host.llamacpp.toolchain import for_abi

# Of each extension every form that is looked for; with them, what has nearly the same encoding and is in ARMv8.0.
INSTRUCTIONS = {
    "asimddp": [
        "sdot v1.4s, v2.16b, v3.16b",
        "udot v1.2s, v2.8b, v3.8b",
        "sdot v1.4s, v2.16b, v3.4b[3]",
        "udot v31.2s, v30.8b, v29.4b[0]",
    ],
    "asimdhp": [
        "fmla v1.8h, v2.8h, v3.8h",
        "fadd v1.4h, v2.4h, v3.4h",
        "fmax v31.8h, v30.8h, v29.8h",
        "fmla v1.8h, v2.8h, v3.h[5]",
        "fmls v1.4h, v2.4h, v3.h[0]",
        "fmul v1.8h, v2.8h, v3.h[7]",
        "fadd h1, h2, h3",
        "fmul h31, h30, h29",
    ],
    "i8mm": [
        "smmla v1.4s, v2.16b, v3.16b",
        "ummla v1.4s, v2.16b, v3.16b",
        "usmmla v1.4s, v2.16b, v3.16b",
        "usdot v1.4s, v2.16b, v3.16b",
        "usdot v1.2s, v2.8b, v3.4b[1]",
    ],
    "bf16": ["bfdot v1.4s, v2.8h, v3.8h", "bfmmla v1.4s, v2.8h, v3.8h"],
    "sve": ["ptrue p0.b", "ptrue p3.s, vl4", "ptrues p1.d"],
}
X86 = {
    "avx2": [
        "vpmaddubsw %ymm1, %ymm2, %ymm3",
        "vpsignb %ymm8, %ymm9, %ymm10",
        "vpbroadcastd %xmm1, %ymm2",
        "vpermd (%rax), %ymm1, %ymm15",
    ],
    "fma": [
        "vfmadd132ps %ymm1, %ymm2, %ymm3",
        "vfmadd213ps %xmm1, %xmm2, %xmm3",
        "vfmadd231ps (%r8), %ymm12, %ymm13",
        "vfmadd132ss %xmm1, %xmm2, %xmm3",
        "vfmadd213sd %xmm1, %xmm2, %xmm3",
        "vfmadd231ss %xmm1, %xmm2, %xmm3",
    ],
    "f16c": ["vcvtph2ps %xmm1, %ymm2", "vcvtph2ps (%rdi), %xmm2", "vcvtps2ph $0, %ymm1, %xmm2"],
    "bmi2": ["shlx %rax, %rbx, %rcx", "sarx %eax, %ebx, %ecx", "shrx %r8, (%r9), %r10", "rorx $7, %rax, %rbx"],
}
X86_BASELINE = """
    pmaddubsw %xmm1, %xmm2
    psignb %xmm1, %xmm2
    pcmpgtq %xmm1, %xmm2
    crc32q %rax, %rbx
    popcntq %rax, %rbx
    vbroadcastss (%rax), %ymm1
    vpmaddubsw %xmm1, %xmm2, %xmm3
    vpbroadcastd %xmm1, %xmm2
    vmulps %ymm1, %ymm2, %ymm3
    vperm2f128 $1, %ymm1, %ymm2, %ymm3
    andn %rax, %rbx, %rcx
    shlq $3, %rax
    lea 0x12345678(%rax,%rbx,4), %rcx
    ret
"""
BASELINE = """
    fcvt s0, h1
    fcvt h1, s0
    fcvtl v0.4s, v1.4h
    fcvtn v0.4h, v1.4s
    fmla v1.4s, v2.4s, v3.4s
    fmla v1.4s, v2.4s, v3.s[1]
    fmul v1.2d, v2.2d, v3.d[1]
    fadd s1, s2, s3
    fadd d1, d2, d3
    mla v1.8h, v2.8h, v3.h[2]
    smlal v1.4s, v2.4h, v3.h[2]
    smull v1.8h, v2.8b, v3.8b
    sqdmlal v1.4s, v2.4h, v3.h[1]
    add v1.8h, v2.8h, v3.8h
    addp v1.16b, v2.16b, v3.16b
    dup v0.8h, w1
    ins v0.h[1], w2
    ext v0.16b, v1.16b, v2.16b, #3
    zip1 v0.8h, v1.8h, v2.8h
    uzp2 v0.16b, v1.16b, v2.16b
    tbl v0.16b, {v1.16b, v2.16b}, v3.16b
    movi v0.8h, #1
    fmov v0.4s, #1.0
    shl v0.8h, v1.8h, #3
    sshll v0.8h, v1.8b, #0
    bsl v0.16b, v1.16b, v2.16b
    ldr q0, [x1]
    ld1r {v0.8h}, [x1]
    cbz x0, 1f
1:  madd x0, x1, x2, x3
    mrs x0, tpidr_el0
    nop
    ret
"""

Zig = Callable[..., Path]


@pytest.fixture(scope="module")
def zig(tmp_path_factory: pytest.TempPathFactory) -> Zig:
    """`zig(arguments, text)` compiles for arm64 without libc or libraries, and returns the file."""
    toolchain = for_abi("arm64-v8a")
    (binary,) = (option.split("=", 1)[1] for option in toolchain.cmake if "SMOOTHDROID_ZIG=" in option)
    folder = tmp_path_factory.mktemp("elf")

    def run(arguments: str, text: str, *, target: str = "aarch64-linux-musl", suffix: str = "c") -> Path:
        name = f"file{len(list(folder.iterdir()))}"
        # zig tells a library by its name.
        source, out = folder / f"{name}.{suffix}", folder / f"{name}{'.so' if '-shared' in arguments else '.out'}"
        source.write_text(text)
        command = [binary, "cc", "-target", target, "-nostdlib", "-g0", *arguments.split(), str(source), "-o", str(out)]
        subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **toolchain.env})
        return out

    return run


def assembled(zig: Zig, text: str) -> Elf:
    mcpu = "-mcpu=generic+v8_2a+dotprod+fullfp16+i8mm+bf16+sve"
    return read(zig(f"-c {mcpu}", f".text\n{text}\n", suffix="s"))


@pytest.mark.parametrize("extension", INSTRUCTIONS)
def test_each_instruction_of_an_extension_is_seen(zig: Zig, extension: str) -> None:
    for instruction in INSTRUCTIONS[extension]:
        assert assembled(zig, instruction).instructions == {extension}, instruction


def test_what_every_arm64_has_is_no_extension(zig: Zig) -> None:
    assert assembled(zig, BASELINE).instructions == set()
    assert set(INSTRUCTIONS) == set(ARCHITECTURES["EM_AARCH64"].extensions)


def assembled_x86(zig: Zig, text: str, times: int) -> Elf:
    mcpu = "-march=x86_64_v3"
    text = f".text\n.rept {times}\n{text}\n.endr\n"
    return read(zig(f"-c {mcpu}", text, target="x86_64-linux-musl", suffix="s"))


@pytest.mark.parametrize("extension", X86)
def test_each_instruction_of_an_extension_is_seen_on_x86_too(zig: Zig, extension: str) -> None:
    least = ARCHITECTURES["EM_X86_64"].least
    for instruction in X86[extension]:
        assert assembled_x86(zig, instruction, least).instructions == {extension}, instruction
        assert assembled_x86(zig, instruction, least - 1).instructions == set(), "may be chance"


def test_what_every_x86_64_has_is_no_extension(zig: Zig) -> None:
    assert assembled_x86(zig, X86_BASELINE, 64).instructions == set()
    assert set(X86) == set(ARCHITECTURES["EM_X86_64"].extensions)


START = "void _start(void) { for (;;) {} }\n"
LIBRARY = "int answer(void) { return 42; }\n"


@pytest.fixture(scope="module")
def library(zig: Zig) -> Path:
    return zig("-shared -Wl,-soname,libanswer.so", LIBRARY)


@pytest.fixture(scope="module")
def program(zig: Zig, library: Path) -> Path:
    text = "int answer(void);\nvoid _start(void) { answer(); for (;;) {} }\n"
    return zig(f"-fPIE -pie -Wl,--dynamic-linker={BIONIC_LOADER} {library}", text)


def test_a_program_of_bionic_is_told_from_a_static_one(zig: Zig, library: Path, program: Path) -> None:
    assert read(program) == Elf("EM_AARCH64", BIONIC_LOADER, ("libanswer.so",), 65536, frozenset())
    assert read(library) == Elf("EM_AARCH64", None, (), 65536, frozenset())
    assert read(zig("-static", START)) == Elf("EM_AARCH64", None, (), 65536, frozenset())
    other = read(zig("-static", START, target="x86_64-linux-musl"))
    assert (other.machine, other.interpreter) == ("EM_X86_64", None)


@pytest.mark.parametrize("bytes_", [4096, 16384])
def test_the_alignment_is_that_of_the_least_aligned_segment(zig: Zig, bytes_: int) -> None:
    assert read(zig(f"-static -Wl,-z,max-page-size={bytes_}", START)).alignment_bytes == bytes_


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01"])
def test_what_is_no_elf_file_is_bad_input(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "llama-bench"
    file.write_bytes(content)
    with pytest.raises(BadInput, match="llama-bench is no whole ELF file"):
        check({file: (None, Claim(frozenset()))}, "arm64-v8a", shipped=())


def test_a_file_that_was_cut_is_bad_input(tmp_path: Path, program: Path) -> None:
    whole, file = program.read_bytes(), tmp_path / "cut"
    for length in (70, len(whole) // 2, len(whole) - 70):
        file.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="cut is no whole ELF file"):
            read(file)


GOOD = Elf("EM_AARCH64", BIONIC_LOADER, ("libc.so", "libllama.so"), PAGE_BYTES, frozenset({"asimddp"}))
DOTPROD = Claim(frozenset({"asimddp"}))


def found(wrong: Elf, claim: Claim = DOTPROD, interpreter: str | None = BIONIC_LOADER) -> list[str]:
    return faults(wrong, "arm64-v8a", interpreter=interpreter, shipped=["libllama.so"], claim=claim)


def test_a_file_without_a_fault() -> None:
    assert found(GOOD) == []
    assert found(replace(GOOD, interpreter=None), interpreter=None) == []
    more = replace(GOOD, instructions=frozenset({"asimddp", "i8mm", "sve"}))
    assert found(more, replace(DOTPROD, chooses=True)) == [], "KleidiAI looks at the CPU itself"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(GOOD, machine="EM_ARM"), "it is for ARM, not for arm64-v8a"),
        (replace(GOOD, machine="EM_X86_64"), "it is for X86_64, not for arm64-v8a"),
        (replace(GOOD, interpreter=None), "its loader is missing, where /system/bin/linker64 was expected"),
        (replace(GOOD, interpreter="/lib/ld.so"), "its loader is /lib/ld.so, where /system/bin/linker64 was expected"),
        (replace(GOOD, needed=("libc.so", "libomp.so")), "it needs libomp.so, which no phone has"),
        (replace(GOOD, needed=("libc.so.6",)), "it needs libc.so.6, which no phone has"),
        (replace(GOOD, alignment_bytes=4096), "aligned to 4096 bytes: a phone with pages of 16384 does not load it"),
        (replace(GOOD, alignment_bytes=0), "aligned to 0 bytes"),
        (replace(GOOD, instructions=frozenset()), "it has no instruction of asimddp, for which it was built"),
        (
            replace(GOOD, instructions=frozenset({"asimddp", "i8mm"})),
            "it has instructions of i8mm, of which a CPU that it is for may die",
        ),
    ],
)
def test_a_fault_is_named(wrong: Elf, said: str) -> None:
    (fault,) = found(wrong)
    assert said in fault


def test_a_static_program_may_need_no_library_at_all() -> None:
    static = replace(GOOD, interpreter=None, needed=("libc.so",))
    (fault,) = faults(static, "arm64-v8a", interpreter=None, shipped=(), claim=DOTPROD)
    assert "it needs libc.so" in fault


def test_every_fault_of_every_file_is_told(program: Path, library: Path) -> None:
    files: dict[Path, tuple[str | None, Claim]] = {
        program: (None, Claim(frozenset())),
        library: (None, Claim(frozenset({"i8mm"}))),
    }
    with pytest.raises(BadInput) as caught:
        check(files, "x86_64", shipped=())
    message = str(caught.value)
    for said in (
        f"{program.name}: it is for AARCH64, not for x86_64",
        f"{program.name}: its loader is {BIONIC_LOADER}, where none was expected",
        f"{program.name}: it needs libanswer.so",
        f"{library.name}: it is for AARCH64, not for x86_64",
        f"{library.name}: it has no instruction of i8mm",
        "was discarded",
    ):
        assert said in message
    files = {program: (BIONIC_LOADER, Claim(frozenset())), library: (None, Claim(frozenset()))}
    check(files, "arm64-v8a", shipped=["libanswer.so"])
