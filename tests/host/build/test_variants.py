from __future__ import annotations

import pytest

from device.errors import BadInput
from host.build.variants import ABIS, VARIANTS, choose, find, runnable

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
    assert [find(variant.abi, variant.isa) for variant in VARIANTS] == list(VARIANTS)
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


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
    ("x86_64", ["avx2", "fma", "f16c", "bmi2"]),
)
EVERY_ARM = ["arm64-v8a-v8.0", "arm64-v8a-dotprod", "arm64-v8a-fp16", "arm64-v8a-i8mm"]


@pytest.mark.parametrize(
    ("abi", "isa", "phones", "chosen"),
    [
        (None, None, [], EVERY_ARM),
        (None, None, [NEW], ["arm64-v8a-i8mm"]),
        (None, None, [OLD, NEW, OLD], ["arm64-v8a-v8.0", "arm64-v8a-i8mm"]),
        (None, None, [NEW, TABLET], ["arm64-v8a-i8mm", "x86_64-avx2"]),
        ("x86_64", None, [NEW, TABLET], ["x86_64-avx2"]),
        ("x86_64", None, [NEW], ["x86_64-avx2"]),
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


@pytest.mark.parametrize(("abi", "isa"), [("mips", None), ("mips", "v8.0"), (None, "nosuch"), ("host", "fp16")])
def test_does_not_choose_what_does_not_exist(abi: str | None, isa: str | None) -> None:
    with pytest.raises(BadInput, match="no build is called"):
        choose(abi, isa, [])


@pytest.mark.parametrize("features", [[], ["half", "thumb"]])
def test_a_phone_that_runs_none_is_bad_input(features: list[str]) -> None:
    with pytest.raises(BadInput, match="no phone at hand runs"):
        choose(None, None, [("arm64-v8a", features)])
