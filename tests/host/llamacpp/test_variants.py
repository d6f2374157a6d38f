from __future__ import annotations

import re

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.llamacpp import source
from smoothdroid.host.llamacpp.variants import (
    ABIS,
    KERNEL_LIBRARIES,
    SHARED,
    VARIANTS,
    choose,
    find,
    runnable,
    usable,
    with_kleidiai,
)

PIXEL_8 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 "
    "sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg dcpodp sve2 svebf16 i8mm bf16 dgh bti"
)
SDM845 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop"
SDM855 = SDM845 + " asimddp"
CORTEX_A53 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ONLY_DOTPROD = CORTEX_A53 + " asimddp"


@pytest.mark.parametrize(
    ("features", "levels"),
    [
        (PIXEL_8, ["i8mm", "fp16", "dotprod", "v8.0"]),
        (SDM855, ["fp16", "dotprod", "v8.0"]),
        (ONLY_DOTPROD, ["dotprod", "v8.0"]),
        (SDM845, ["v8.0"]),
        (CORTEX_A53, ["v8.0"]),
        ("fp", []),
        ("", []),
    ],
)
def test_offers_what_runs_best_first(features: str, levels: list[str]) -> None:
    assert [variant.isa for variant in runnable("arm64-v8a", features.split())] == levels


def test_an_unknown_abi_runs_nothing() -> None:
    assert runnable("riscv64", PIXEL_8.split()) == []


def test_this_machine_runs_what_was_built_for_it() -> None:
    assert [variant.name for variant in runnable("host", [])] == ["host-native"]


def test_every_variant_is_found_by_its_name() -> None:
    known = [*VARIANTS, *SHARED]
    assert [find(variant.abi, variant.isa) for variant in known] == known
    assert len({variant.name for variant in known}) == len(known)


def test_a_build_of_every_level_comes_before_single_ones() -> None:
    assert [variant.isa for variant in usable("arm64-v8a", SDM855.split())] == ["all", "fp16", "dotprod", "v8.0"]
    assert [variant.isa for variant in usable("x86_64", ["sse4_2", "popcnt"])] == ["all", "sse4.2"]
    assert list(usable("arm64-v8a", [])) == []
    assert [variant.name for variant in usable("host", [])] == ["host-native"]


def test_kleidiai_is_a_level_of_its_own_that_is_only_named() -> None:
    named = find("arm64-v8a", "i8mm+kleidiai")
    plain = find("arm64-v8a", "i8mm")
    assert named == with_kleidiai(plain)
    assert (named.isa, named.needs) == ("i8mm+kleidiai", plain.needs)
    assert "-DGGML_CPU_KLEIDIAI=ON" in named.cmake
    assert find("arm64-v8a", "all+kleidiai").shared
    assert named not in usable("arm64-v8a", PIXEL_8.split())
    with pytest.raises(BadInput, match="KleidiAI has kernels for arm64-v8a, and none for x86_64"):
        find("x86_64", "avx2+kleidiai")


def test_the_libraries_of_kernels_are_those_of_the_pinned_llama_cpp() -> None:
    """Their names and what they are built for, as ggml's own cmake says it, where it is on this machine."""
    lists = source.pinned().folder / "ggml/src/CMakeLists.txt"
    if not lists.exists():
        pytest.skip("the pinned llama.cpp is not unpacked here")
    word = {
        "DOTPROD": "asimddp",
        "FP16_VECTOR_ARITHMETIC": "asimdhp",
        "MATMUL_INT8": "i8mm",
        "SVE": "sve",
        "SVE2": "sve",
    }
    listed = re.findall(r"ggml_add_cpu_backend_variant\((android_\S+?)((?:\s+\w+)*)\)", lists.read_text())
    built = {
        f"libggml-cpu-{name}.so": frozenset(word[feature] for feature in features.split() if feature != "SME")
        for name, features in listed
    }
    assert built == dict(KERNEL_LIBRARIES)


@pytest.mark.parametrize("level", [v for v in VARIANTS if v.abi == "arm64-v8a"], ids=lambda v: v.isa)
def test_a_level_needs_what_its_compiler_may_use(level: object) -> None:
    """-march and the words that a phone must have are two lists: one without the other is a SIGILL."""
    word = {"dotprod": {"asimddp"}, "fp16": {"fphp", "asimdhp"}, "i8mm": {"i8mm"}}
    (variant,) = (v for v in VARIANTS if v is level)
    (march,) = (option.split("=")[1] for option in variant.cmake if "ARM_ARCH" in option)
    assert variant.needs == {"asimd"}.union(*(word[extension] for extension in march.split("+")[1:]))


@pytest.mark.parametrize(("abi", "isa"), [("arm64-v8a", "avx2"), ("armeabi-v7a", "v8.0"), ("", "")])
def test_an_unknown_name_is_bad_input_that_lists_the_known(abi: str, isa: str) -> None:
    with pytest.raises(BadInput, match=f"--abi {abi} --isa {isa}") as caught:
        find(abi, isa)
    assert all(known in str(caught.value) for known in (*ABIS, "v8.0, dotprod, fp16, i8mm", "native"))


NEW, OLD, TABLET = (
    ("arm64-v8a", PIXEL_8.split()),
    ("arm64-v8a", SDM845.split()),
    ("x86_64", ["sse4_2", "popcnt", "avx", "avx2", "fma", "f16c", "bmi2"]),
)
EMULATOR = ("x86_64", ["ssse3", "sse4_1", "sse4_2", "popcnt"])
EVERY_ARM = ["arm64-v8a-v8.0", "arm64-v8a-dotprod", "arm64-v8a-fp16", "arm64-v8a-i8mm"]


@pytest.mark.parametrize(
    ("abi", "isa", "phones", "chosen"),
    [
        (None, None, [], EVERY_ARM),
        (None, None, [NEW], ["arm64-v8a-i8mm"]),
        (None, None, [OLD, NEW, OLD], ["arm64-v8a-v8.0", "arm64-v8a-i8mm"]),
        (None, None, [NEW, TABLET], ["arm64-v8a-i8mm", "x86_64-avx2"]),
        ("x86_64", None, [NEW, TABLET], ["x86_64-avx2"]),
        ("x86_64", None, [EMULATOR], ["x86_64-sse4.2"]),
        ("x86_64", None, [NEW], ["x86_64-sse4.2", "x86_64-avx2"]),
        ("arm64-v8a", None, [TABLET], EVERY_ARM),
        ("host", None, [], ["host-native"]),
        (None, "fp16", [], ["arm64-v8a-fp16"]),
        (None, "fp16", [NEW], ["arm64-v8a-fp16"]),
    ],
)
def test_chooses_what_the_phones_at_hand_run_best(
    abi: str | None, isa: str | None, phones: list[tuple[str, list[str]]], chosen: list[str]
) -> None:
    assert [variant.name for variant in choose(abi, isa, phones)] == chosen


@pytest.mark.parametrize(
    ("abi", "isa", "phones", "chosen"),
    [
        (None, None, [], ["arm64-v8a-all"]),
        (None, None, [OLD, NEW], ["arm64-v8a-all"]),
        (None, None, [NEW, TABLET], ["arm64-v8a-all", "x86_64-all"]),
        ("x86_64", None, [], ["x86_64-all"]),
        ("host", None, [], ["host-native"]),
        (None, "i8mm", [], ["arm64-v8a-i8mm"]),
    ],
)
def test_with_an_ndk_one_build_holds_every_level(
    abi: str | None, isa: str | None, phones: list[tuple[str, list[str]]], chosen: list[str]
) -> None:
    assert [variant.name for variant in choose(abi, isa, phones, shared=True)] == chosen


@pytest.mark.parametrize(("abi", "isa"), [("mips", None), ("mips", "v8.0"), (None, "nosuch"), ("host", "fp16")])
def test_does_not_choose_what_does_not_exist(abi: str | None, isa: str | None) -> None:
    with pytest.raises(BadInput, match="no build is called"):
        choose(abi, isa, [])


@pytest.mark.parametrize("features", [[], ["half", "thumb"]])
def test_a_phone_that_runs_none_is_bad_input(features: list[str]) -> None:
    with pytest.raises(BadInput, match="no attached phone runs"):
        choose(None, None, [("arm64-v8a", features)])
