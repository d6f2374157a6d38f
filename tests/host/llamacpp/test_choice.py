"""Which level for which phone, and why: on what real phones say of their CPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.info.phone import Phone, parse
from smoothdroid.host.llamacpp.variants import explain

DATA = Path(__file__).parents[2] / "data/phones"

# What describe.sh prints of a 64-bit program: the head of its ELF file, and its auxiliary vector.
ARM64 = " 7f 45 4c 46 02 01 01 00 00 00 00 00 00 00 00 00\n 03 00 b7 00\n"
X86_64 = ARM64.replace("b7", "3e")


def phone_with(cpuinfo: str, *, hwcaps: str = "", cpus: str = "", abi: str = "arm64-v8a") -> Phone:
    text = f"==getprop\n[ro.product.cpu.abi]: [{abi}]\n==uname\nLinux 5.10.1 aarch64\n==cpuinfo\n{cpuinfo}\n"
    text += f"==hwcaps\n{hwcaps}\n==meminfo\nMemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n==cpus\n{cpus}\n"
    return parse(text + "==df\nFilesystem 1K-blocks Used Available Use% Mounted\n/dev/x 9 1 8 1% /data\n", "adb:X")


def real(name: str, **more: str) -> Phone:
    return phone_with((DATA / f"cpuinfo/{name}.txt").read_text(), **more)


@pytest.mark.parametrize(
    ("name", "level", "why"),
    [
        ("hrw-snapdragon-8-gen2", "i8mm", ""),
        ("hrw-snapdragon-8+-gen1", "i8mm", ""),
        ("hrw-mediatek-dimensity-9300", "i8mm", ""),
        ("hrw-exynos-2400", "i8mm", ""),
        ("hrw-google-tensor-g3", "i8mm", ""),
        ("hrw-snapdragon-865", "fp16", "i8mm needs i8mm: no CPU has i8mm"),
        ("hrw-snapdragon-765", "fp16", "i8mm needs i8mm: no CPU has i8mm"),
        ("hrw-mediatek-helio-g85", "fp16", "i8mm needs i8mm: no CPU has i8mm"),
        # Half precision, and no dot products: ggml's kernels for quantised weights begin with those.
        ("hrw-snapdragon-845", "v8.0", "dotprod needs asimddp: no CPU has asimddp"),
        ("hrw-Exynos-9810", "v8.0", "dotprod needs asimddp: no CPU has asimddp"),
        ("hrw-snapdragon-410", "v8.0", "dotprod needs asimddp: no CPU has asimddp"),
        ("hrw-snapdragon-650", "v8.0", "dotprod needs asimddp: no CPU has asimddp"),
        ("pt-pixel-xl", "v8.0", "dotprod needs asimddp: no CPU has asimddp"),
        ("pt-galaxy-s8-us", None, "v8.0 needs asimd: no CPU has asimd; the features were read by a 32-bit process"),
    ],
)
def test_the_best_level_of_a_real_phone_and_why_no_better_one(name: str, level: str | None, why: str) -> None:
    chosen = explain(real(name))
    assert (chosen.level.isa if chosen.level else None) == level
    assert why in chosen.reason
    assert level != "i8mm" or chosen.reason == "every CPU has asimd, asimddp, asimdhp, fphp, i8mm"


@pytest.mark.parametrize(
    ("name", "level", "why"),
    [
        ("pixel-8", "i8mm", "every CPU has"),
        ("galaxy-s7-global", None, "/proc/cpuinfo does not list CPUs 6, 7: they are off"),
        ("meizu-pro-7-plus", "v8.0", "/proc/cpuinfo does not list CPUs 5, 6, 7, 9: they are off"),
    ],
)
def test_cpus_that_are_off_are_told(name: str, level: str | None, why: str) -> None:
    chosen = explain(parse((DATA / f"{name}.txt").read_bytes().decode(), f"adb:{name}"))
    assert (chosen.level.isa if chosen.level else None) == level
    assert why in chosen.reason
    assert ("they are off" in chosen.reason) == (name != "pixel-8")


def test_one_cpu_of_nine_speaks_for_all_and_that_is_told() -> None:
    found = real("fb-zuma_main", cpus="\n".join(f"{cpu} 1000000 {int(cpu == 0)}" for cpu in range(9)))
    assert found.unseen_cpus == list(range(1, 9))
    chosen = explain(found)
    assert chosen.level is not None
    assert chosen.level.isa == "i8mm"
    assert "/proc/cpuinfo does not list CPUs 1, 2, 3, 4, 5, 6, 7, 8" in chosen.reason


def cores(*of_each: str) -> str:
    """A /proc/cpuinfo: big cores have part 0xd46, by their features."""
    blocks = [
        f"processor\t: {cpu}\nFeatures\t: {words}\nCPU implementer\t: 0x41\nCPU part\t: "
        f"{'0xd4d' if 'i8mm' in words else '0xd05'}\n"
        for cpu, words in enumerate(of_each)
    ]
    return "\n".join(blocks)


OLD, FP16, NEW = "fp asimd", "fp asimd asimddp fphp asimdhp", "fp asimd asimddp fphp asimdhp i8mm"


@pytest.mark.parametrize(
    ("of_each", "level", "why"),
    [
        ((FP16, FP16, NEW, NEW), "fp16", "i8mm needs i8mm: CPUs 0, 1 (Cortex-A55) lack i8mm"),
        ((NEW, NEW, NEW, OLD), "v8.0", "dotprod needs asimddp: CPUs 3 (Cortex-A55) lack asimddp"),
        ((NEW, NEW), "i8mm", "every CPU has"),
    ],
)
def test_the_weakest_core_decides(of_each: tuple[str, ...], level: str, why: str) -> None:
    """A thread may run on any of them. No phone in the data is so: a kernel tells what all its CPUs have."""
    found = phone_with(cores(*of_each))
    chosen = explain(found)
    assert chosen.level is not None
    assert (chosen.level.isa, why in chosen.reason) == (level, True), chosen.reason
    assert Phone.model_validate_json(found.model_dump_json()) == found


def auxv(hwcap: int, hwcap2: int) -> str:
    entries = [(33, 0x7F0000000000), (16, hwcap), (6, 4096), (26, hwcap2), (0, 0)]
    return "".join(f" {kind:016x} {value:016x}\n" for kind, value in entries)


FULL, NO_I8MM = (1 << 1 | 1 << 9 | 1 << 10 | 1 << 20, 1 << 13), (1 << 1 | 1 << 9 | 1 << 10 | 1 << 20, 0)


@pytest.mark.parametrize(
    ("hwcaps", "level", "why"),
    [
        (ARM64 + "--\n" + auxv(*FULL), "i8mm", "every CPU has"),
        (ARM64 + "--\n" + auxv(*NO_I8MM), "fp16", "/proc/cpuinfo names, and the kernel's hwcaps withhold, i8mm"),
        # What a program of another architecture is told, an od that is not there, and a vector that was cut.
        (X86_64 + "--\n" + auxv(0x178BFBFF, 2), "i8mm", "every CPU has"),
        ("--\n", "i8mm", "every CPU has"),
        (ARM64 + "--\n", "i8mm", "every CPU has"),
        ("", "i8mm", "every CPU has"),
    ],
)
def test_what_the_kernel_does_not_promise_is_not_used(hwcaps: str, level: str, why: str) -> None:
    chosen = explain(phone_with(cores(NEW, NEW), hwcaps=hwcaps))
    assert chosen.level is not None
    assert (chosen.level.isa, why in chosen.reason) == (level, True), chosen.reason


@pytest.mark.parametrize("abi", ["armeabi-v7a", "riscv64"])
def test_an_abi_without_a_build_is_told(abi: str) -> None:
    chosen = explain(phone_with(cores(NEW), abi=abi))
    assert (chosen.level, chosen.reason) == (None, f"there is no build for {abi}")
