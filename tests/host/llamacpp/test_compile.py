"""The real cmake, ninja, compiler and zig, on a project of one C file in llama.cpp's place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import elf, variants
from smoothdroid.host.llamacpp.cmake import OPTIONS
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.llamacpp.source import Source
from smoothdroid.host.llamacpp.toolchain import Toolchain, for_abi
from smoothdroid.host.llamacpp.variants import HOST_TOOLS, PHONE_TOOLS

PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(tiny C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(GGML_CPU_ARM_ARCH)
  add_compile_options(-march=${GGML_CPU_ARM_ARCH})
endif()
foreach(tool llama-bench llama-completion llama-quantize llama-perplexity)
  add_executable(${tool} tiny.c)
endforeach()
"""

# Says what the compiler was told that the CPU has, and has an instruction of each.
TINY = """
#include <stdio.h>
#ifdef __ARM_NEON
#include <arm_neon.h>
#endif
#ifdef __ARM_FEATURE_DOTPROD
int32x4_t dotprod(int32x4_t sum, int8x16_t x, int8x16_t y) { return vdotq_s32(sum, x, y); }
#endif
#ifdef __ARM_FEATURE_FP16_VECTOR_ARITHMETIC
float16x8_t fp16(float16x8_t sum, float16x8_t x, float16x8_t y) { return vfmaq_f16(sum, x, y); }
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
int32x4_t i8mm(int32x4_t sum, int8x16_t x, int8x16_t y) { return vmmlaq_s32(sum, x, y); }
#endif
int main(void) {
  puts("isa:"
#ifdef __ARM_FEATURE_DOTPROD
    " dotprod"
#endif
#ifdef __ARM_FEATURE_FP16_VECTOR_ARITHMETIC
    " fp16"
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
    " i8mm"
#endif
    " of " __FILE__);
}
"""

HOST = variants.find("host", "native")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # zig's own cache stays the user's: filling a new one takes a minute.
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(cache_root() / "zig")))
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


MakeSource = Callable[..., Source]


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    def make(name: str = "tiny", text: str = TINY, identity: str = "tiny-1") -> Source:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "CMakeLists.txt").write_text(PROJECT)
        (folder / "tiny.c").write_text(text)
        return Source(folder, identity, "abc123")

    return make


@pytest.fixture
def tiny(make_source: MakeSource) -> Source:
    return make_source()


@pytest.fixture(scope="module")
def gcc() -> Toolchain:
    return for_abi("host")


class Steps:
    """Counts what ninja says."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))


def visible() -> list[str]:
    """Everything in the folder of finished builds."""
    folder = cache_root() / "builds"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_build_is_made_once(tiny: Source, gcc: Toolchain) -> None:
    steps = Steps()
    made = compiler.build(HOST, tiny, gcc, on_progress=steps)
    assert not made.hit
    assert steps.seen[-1] == (8, 8)
    assert set(made.manifest.tools) == set(HOST_TOOLS)
    assert (made.manifest.commit, made.manifest.isa, made.manifest.toolchain) == ("abc123", "native", gcc.id)
    assert visible() == [f"host-native-{made.manifest.id}"]
    said = subprocess.run([made.tool("llama-bench")], capture_output=True, text=True, check=True).stdout
    assert said == "isa: of llama.cpp/tiny.c\n", "a binary depends on where its source lies"

    steps.seen.clear()
    again = compiler.build(HOST, tiny, gcc, on_progress=steps)
    assert (again.hit, again.folder, again.manifest, steps.seen) == (True, made.folder, made.manifest, [])


def test_a_damaged_binary_is_not_served(tiny: Source, gcc: Toolchain) -> None:
    made = compiler.build(HOST, tiny, gcc)
    whole = made.tool("llama-bench").read_bytes()
    for damage in (whole[:-1], whole[:-1] + b"\1", b""):
        made.tool("llama-bench").write_bytes(damage)
        assert compiler.find([HOST], tiny) is None
        assert not compiler.build(HOST, tiny, gcc).hit
        assert made.tool("llama-bench").read_bytes() == whole
    made.tool("llama-completion").unlink()
    assert compiler.find([HOST], tiny) is None
    assert not compiler.build(HOST, tiny, gcc).hit
    assert visible() == [made.folder.name]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": "x"}', b"\xff"])
def test_a_damaged_manifest_is_not_served(tiny: Source, gcc: Toolchain, content: bytes) -> None:
    made = compiler.build(HOST, tiny, gcc)
    (made.folder / compiler.MANIFEST).write_bytes(content)
    assert compiler.find([HOST], tiny) is None
    again = compiler.build(HOST, tiny, gcc)
    assert (again.hit, again.manifest) == (False, made.manifest)


def test_whatever_shapes_the_binaries_changes_the_id(tiny: Source) -> None:
    tools = Toolchain("gcc 1")
    known = compiler.build_id(HOST, tiny, tools)
    assert known == compiler.build_id(HOST, Source(Path("/elsewhere"), tiny.id, tiny.commit), Toolchain("gcc 1"))
    others = [
        compiler.build_id(HOST, Source(tiny.folder, "tiny-2", tiny.commit), tools),
        compiler.build_id(HOST, tiny, Toolchain("gcc 2")),
        *(compiler.build_id(variant, tiny, tools) for variant in variants.VARIANTS if variant is not HOST),
    ]
    assert len({known, *others}) == len(others) + 1


def test_the_users_environment_shapes_no_binary(
    tiny: Source, gcc: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in a build's identity must not reach the compiler."""
    plain = compiler.build(HOST, tiny, gcc)
    whole = plain.tool("llama-bench").read_bytes()
    shutil.rmtree(cache_root())
    broken = {
        "LDFLAGS": "-Wl,--no-such-option",
        "CFLAGS": "-DNDEBUG=no",
        "CPPFLAGS": "-include nosuch.h",
        "CPATH": str(tmp_path),
        "C_INCLUDE_PATH": str(tmp_path),
        "LIBRARY_PATH": str(tmp_path),
        "SOURCE_DATE_EPOCH": "1",
        "CMAKE_TOOLCHAIN_FILE": "/nosuch.cmake",
        "CMAKE_BUILD_TYPE": "Debug",
        "NINJAFLAGS": "--nosuch",
    }
    (tmp_path / "stdio.h").write_text('#error "not the compiler\'s own"\n')
    for name, value in broken.items():
        monkeypatch.setenv(name, value)
    again = compiler.build(HOST, tiny, gcc)
    assert (again.hit, again.manifest.id) == (False, plain.manifest.id)
    assert again.tool("llama-bench").read_bytes() == whole


def test_other_flags_are_another_build_from_the_same_tree(
    tiny: Source, gcc: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiler.build(HOST, tiny, gcc)
    monkeypatch.setattr(compiler, "OPTIONS", (*OPTIONS, "-DNEW=1"))
    second = compiler.build(HOST, tiny, gcc)
    assert not second.hit
    assert visible() == sorted([first.folder.name, second.folder.name])


def test_a_compiler_that_fails_is_quoted(make_source: MakeSource, gcc: Toolchain) -> None:
    broken = make_source("broken", "#error this is broken\n", "broken-1")
    with pytest.raises(SmoothdroidError) as caught:
        compiler.build(HOST, broken, gcc)
    message = str(caught.value)
    assert "ninja failed with status 1" in message
    assert "#error this is broken" in message
    (log,) = cache_root().glob("build-trees/*/build.log")
    assert str(log) in message
    assert "this is broken" in log.read_text()
    assert visible() == []


def test_a_cmake_that_fails_is_quoted(make_source: MakeSource, gcc: Toolchain) -> None:
    source = make_source()
    (source.folder / "CMakeLists.txt").write_text('message(FATAL_ERROR "no, thank you")')
    with pytest.raises(SmoothdroidError, match=r"(?s)cmake failed with status 1.*no, thank you"):
        compiler.build(HOST, source, gcc)
    (source.folder / "CMakeLists.txt").write_text(PROJECT)
    assert not compiler.build(HOST, source, gcc).hit


def test_a_kill_in_the_middle_leaves_nothing_visible_and_the_next_call_goes_on(tiny: Source, gcc: Toolchain) -> None:
    def ctrl_c(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiler.build(HOST, tiny, gcc, jobs=1, on_progress=ctrl_c)
    assert visible() == []
    assert compiler.find([HOST], tiny) is None
    made = compiler.build(HOST, tiny, gcc)
    assert subprocess.run([made.tool("llama-quantize")], check=True).returncode == 0


def test_a_tool_that_the_build_did_not_make_leaves_nothing_visible(make_source: MakeSource, gcc: Toolchain) -> None:
    source = make_source()
    text = PROJECT.replace("add_executable(${tool} tiny.c)", "add_custom_target(${tool})")
    (source.folder / "CMakeLists.txt").write_text(text)
    with pytest.raises(FileNotFoundError, match="llama-bench"):
        compiler.build(HOST, source, gcc)
    assert visible() == []


def _build_in_this_process(source: Source, tools: Toolchain) -> Build:
    return compiler.build(HOST, source, tools)


def test_two_at_once_make_one_build(tiny: Source, gcc: Toolchain) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:
        first, second = (processes.submit(_build_in_this_process, tiny, gcc) for _ in range(2))
        assert sorted([first.result().hit, second.result().hit]) == [False, True]
    assert first.result().folder == second.result().folder
    assert visible() == [first.result().folder.name]


def test_the_same_source_in_another_folder_can_be_built(make_source: MakeSource, gcc: Toolchain) -> None:
    """cmake refuses a tree that it made for another folder, and a checkout may be moved."""
    made = compiler.build(HOST, make_source("here"), gcc)
    (made.folder / compiler.MANIFEST).unlink()
    assert compiler.build(HOST, make_source("there"), gcc).manifest == made.manifest


@pytest.fixture
def levels(tiny: Source) -> dict[str, Build]:
    """Every level for 64-bit ARM, built with zig."""
    zig = for_abi("arm64-v8a")
    assert zig.id.startswith("zig ")
    return {v.isa: compiler.build(v, tiny, zig) for v in variants.VARIANTS if v.abi == "arm64-v8a"}


def test_zig_makes_static_arm64_binaries_of_every_level(levels: dict[str, Build], tiny: Source) -> None:
    told = {"v8.0": b"isa: of", "dotprod": b"isa: dotprod of", "fp16": b"isa: dotprod fp16 of"}
    told["i8mm"] = b"isa: dotprod fp16 i8mm of"
    for isa, build in levels.items():
        assert set(build.manifest.tools) == set(PHONE_TOOLS)
        binary = build.tool("llama-bench").read_bytes()
        static = elf.read(build.tool("llama-bench"))
        assert (static.machine, static.interpreter, static.needed) == ("EM_AARCH64", None, ())
        assert build.manifest.libraries == {}
        assert told[isa] + b" llama.cpp/tiny.c" in binary
        assert str(tiny.folder).encode() not in binary

    # The best of those that are wanted, and only of this source.
    runs = variants.runnable("arm64-v8a", ["asimd", "asimddp", "asimdhp", "fphp"])
    found = compiler.find(runs, tiny)
    assert found is not None
    assert found.manifest == levels["fp16"].manifest
    levels["fp16"].tool("llama-bench").unlink()
    found = compiler.find(runs, tiny)
    assert found is not None
    assert found.manifest.isa == "dotprod"
    assert compiler.find([], tiny) is None
    assert compiler.find(runs, Source(tiny.folder, "other", tiny.commit)) is None


def test_a_binary_that_is_not_of_its_level_is_not_kept(make_source: MakeSource) -> None:
    """Flags that do not reach the compiler, and flags that reach it unasked."""
    zig = for_abi("arm64-v8a")
    slow = make_source("slow", identity="slow")
    (slow.folder / "CMakeLists.txt").write_text(PROJECT.replace("-march=${GGML_CPU_ARM_ARCH}", "-march=armv8-a"))
    with pytest.raises(BadInput, match="llama-bench: it has no instruction of asimddp, asimdhp, i8mm"):
        compiler.build(variants.find("arm64-v8a", "i8mm"), slow, zig)
    deadly = make_source("deadly", identity="deadly")
    (deadly.folder / "CMakeLists.txt").write_text(
        PROJECT.replace("-march=${GGML_CPU_ARM_ARCH}", "-march=armv8.2-a+dotprod")
    )
    with pytest.raises(BadInput, match="it has instructions of asimddp, of which a CPU that it is for may die"):
        compiler.build(variants.find("arm64-v8a", "v8.0"), deadly, zig)
    assert visible() == []


def test_every_level_in_one_build_needs_an_ndk(tiny: Source) -> None:
    with pytest.raises(BadInput, match=r"needs an NDK \(no NDK is named.*Set ANDROID_NDK"):
        compiler.build(variants.find("arm64-v8a", "all"), tiny, for_abi("arm64-v8a"))
    assert visible() == []


@pytest.mark.parametrize("isa", ["i8mm", "i8mm+kleidiai"])
def test_a_checkout_that_does_not_know_a_flag_is_refused(make_source: MakeSource, gcc: Toolchain, isa: str) -> None:
    """cmake would warn in the log, and build something else."""
    source = make_source()
    text = PROJECT.replace("GGML_CPU_ARM_ARCH", "OTHER") if isa == "i8mm" else PROJECT
    (source.folder / "CMakeLists.txt").write_text(text)
    flag = "GGML_CPU_ARM_ARCH" if isa == "i8mm" else "GGML_CPU_KLEIDIAI"
    with pytest.raises(BadInput, match=f"does not know {flag}, which arm64-v8a-{re.escape(isa)} needs"):
        compiler.build(variants.find("arm64-v8a", isa), source, for_abi("arm64-v8a"))
