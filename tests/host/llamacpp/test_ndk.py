"""Builds with an NDK: against a stand-in, and against a real NDK and llama.cpp where ANDROID_NDK names one."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import elf, source, variants
from smoothdroid.host.llamacpp.cmake import OPTIONS
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.llamacpp.source import Source
from smoothdroid.host.llamacpp.toolchain import Toolchain, for_abi, program
from smoothdroid.host.llamacpp.variants import SHARED_TOOLS
from tests.host.build import standin

PINNED = source.pinned()  # before a test gets a cache of its own
REAL_NDK = os.environ.get("ANDROID_NDK", "")

# llama.cpp's outline: libraries that need each other, kernels that nothing names, tools on top.
PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(tiny C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
file(WRITE ${CMAKE_BINARY_DIR}/told.txt "server ${LLAMA_BUILD_SERVER}, web page ${LLAMA_USE_PREBUILT_UI}, \
KleidiAI ${GGML_CPU_KLEIDIAI} from ${FETCHCONTENT_SOURCE_DIR_KLEIDIAI}\\n")
if(GGML_CPU_ARM_ARCH)
  add_compile_options(-march=${GGML_CPU_ARM_ARCH})
endif()
add_library(ggml-base base.c)
add_library(ggml base.c)
add_library(llama base.c)
target_link_libraries(ggml PRIVATE ggml-base)
target_link_libraries(llama PRIVATE ggml)
if(GGML_BACKEND_DL AND GGML_CPU_ALL_VARIANTS AND CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  foreach(level "armv8.0_1 armv8-a" "armv8.2_1 armv8.2-a+dotprod" "armv8.6_1 ${BEST}")
    string(REPLACE " " ";" level ${level})
    list(GET level 0 name)
    list(GET level 1 march)
    add_library(ggml-cpu-android_${name} MODULE kernels.c)
    target_compile_options(ggml-cpu-android_${name} PRIVATE -march=${march})
    target_link_libraries(ggml-cpu-android_${name} PRIVATE ggml-base)
    add_dependencies(ggml ggml-cpu-android_${name})
  endforeach()
elseif(GGML_BACKEND_DL)
  add_library(ggml-cpu-x64 MODULE kernels.c)
  add_dependencies(ggml ggml-cpu-x64)
endif()
foreach(tool llama-bench llama-completion llama-perplexity llama-cli)
  add_executable(${tool} main.c kernels.c)
  target_link_libraries(${tool} PRIVATE llama)
endforeach()
add_library(unwanted SHARED base.c)
"""
BEST = "armv8.6-a+dotprod+fp16+i8mm"
FILES = {
    "CMakeLists.txt": PROJECT.replace("${BEST}", BEST),
    "base.c": "const char *where(void) { return __FILE__; }\n",
    "main.c": "int main(void) { return 0; }\n",
    "kernels.c": """
#define KEEP __attribute__((used, retain))
#ifdef __ARM_FEATURE_DOTPROD
#include <arm_neon.h>
KEEP int32x4_t dotprod(int32x4_t sum, int8x16_t x, int8x16_t y) { return vdotq_s32(sum, x, y); }
#endif
#ifdef __ARM_FEATURE_FP16_VECTOR_ARITHMETIC
KEEP float16x8_t fp16(float16x8_t sum, float16x8_t x, float16x8_t y) { return vfmaq_f16(sum, x, y); }
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
KEEP int32x4_t i8mm(int32x4_t sum, int8x16_t x, int8x16_t y) { return vmmlaq_s32(sum, x, y); }
#endif
""",
}


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of one's own, and no NDK and no SDK around."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(cache_root() / "zig")))
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


MakeNdk = Callable[..., Toolchain]


@pytest.fixture
def make_ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None) -> MakeNdk:
    def make(abi: str = "arm64-v8a", **how: int) -> Toolchain:
        monkeypatch.setenv("ANDROID_NDK", str(standin.make(tmp_path / "ndk", **how)))  # type: ignore[arg-type]
        return for_abi(abi)

    return make


@pytest.fixture
def tiny(tmp_path: Path) -> Source:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return Source(folder, "tiny-1", "abc123")


def every_level(abi: str = "arm64-v8a") -> variants.Variant:
    return variants.find(abi, "all")


KERNELS = ["armv8.0_1", "armv8.2_1", "armv8.6_1"]
LIBRARIES = {"libggml-base.so", "libggml.so", "libllama.so"}


def test_every_level_is_built_at_once_with_the_libraries_that_it_loads(tiny: Source, make_ndk: MakeNdk) -> None:
    ndk = make_ndk()
    made = compiler.build(every_level(), tiny, ndk)
    assert not made.hit
    assert set(made.manifest.tools) == set(SHARED_TOOLS)
    kernels = {f"libggml-cpu-android_{name}.so" for name in KERNELS}
    assert set(made.manifest.libraries) == LIBRARIES | kernels | {"libc++_shared.so"}
    assert sorted(path.name for path in (made.folder / "bin").iterdir()) == sorted(
        [*made.manifest.tools, *made.manifest.libraries]
    )
    tool = elf.read(made.tool("llama-bench"))
    assert (tool.machine, tool.interpreter) == ("EM_AARCH64", "/system/bin/linker64")
    assert {"libllama.so", "libc.so"} <= set(tool.needed)
    for name in made.manifest.libraries:
        assert elf.read(made.tool(name)).alignment_bytes >= 16384, name
    best = elf.read(made.tool("libggml-cpu-android_armv8.6_1.so"))
    assert best.instructions == {"asimddp", "asimdhp", "i8mm"}
    assert b"llama.cpp/base.c" in made.tool("libllama.so").read_bytes()
    assert str(tiny.folder).encode() not in made.tool("libllama.so").read_bytes()

    again = compiler.build(every_level(), tiny, ndk)
    assert (again.hit, again.manifest) == (True, made.manifest)
    made.tool("libggml-base.so").write_bytes(b"damaged")
    assert compiler.find([every_level()], tiny) is None
    assert not compiler.build(every_level(), tiny, ndk).hit


def test_what_the_ndks_file_and_llama_cpp_are_told(tiny: Source, make_ndk: MakeNdk, tmp_path: Path) -> None:
    compiler.build(every_level(), tiny, make_ndk())
    given = set((tmp_path / "ndk" / standin.GIVEN).read_text().split())
    assert {"ANDROID_ABI=arm64-v8a", "ANDROID_PLATFORM=android-28", "ANDROID_STL=c++_shared"} <= given
    (told,) = cache_root().glob("build-trees/*/told.txt")
    assert told.read_text() == "server ON, web page OFF, KleidiAI  from \n"


def test_x86_64_for_googles_emulator(tiny: Source, make_ndk: MakeNdk) -> None:
    made = compiler.build(every_level("x86_64"), tiny, make_ndk("x86_64"))
    assert elf.read(made.tool("llama-cli")).machine == "EM_X86_64"
    assert set(made.manifest.libraries) == LIBRARIES | {"libggml-cpu-x64.so", "libc++_shared.so"}


def test_an_old_ndks_cpp_library_is_linked_into_each(tiny: Source, make_ndk: MakeNdk, tmp_path: Path) -> None:
    """Its shared one is aligned to 4 KiB, and phones with pages of 16 KiB would not load it."""
    made = compiler.build(every_level(), tiny, make_ndk(stl_alignment=4096))
    assert "libc++_shared.so" not in made.manifest.libraries
    assert "ANDROID_STL=c++_static" in (tmp_path / "ndk" / standin.GIVEN).read_text()


def test_one_level_by_an_ndk_is_one_program_that_needs_android_alone(tiny: Source, make_ndk: MakeNdk) -> None:
    made = compiler.build(variants.find("arm64-v8a", "i8mm"), tiny, make_ndk())
    assert made.manifest.libraries == {}
    found = elf.read(made.tool("llama-bench"))
    assert (found.interpreter, found.needed) == ("/system/bin/linker64", ("libc.so",))
    assert found.instructions == {"asimddp", "asimdhp", "i8mm"}
    wanted = [variants.find("arm64-v8a", "i8mm")]
    again = compiler.find(wanted, tiny)
    assert again
    assert again.manifest == made.manifest
    assert compiler.find(wanted, tiny, static=True) is None, "no other Linux has Android's loader"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((BEST, "armv8.2-a+dotprod"), "libggml-cpu-android_armv8.6_1.so: it has no instruction of asimdhp, i8mm"),
        (("armv8.0_1 armv8-a", "armv8.0_1 armv8.2-a+dotprod"), "armv8.0_1.so: it has instructions of asimddp"),
        (
            ("target_link_libraries(llama PRIVATE ggml)", "target_link_libraries(llama PRIVATE ggml /tmp/libomp.so)"),
            "libllama.so: it needs libomp.so, which no phone has",
        ),
        (
            ("PRIVATE llama)", 'PRIVATE llama "-Wl,-z,max-page-size=4096")'),
            "llama-cli: its segments are aligned to 4096 bytes",
        ),
    ],
)
def test_a_build_that_no_phone_could_run_is_not_kept(
    tiny: Source, make_ndk: MakeNdk, tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    ndk = make_ndk()
    text = FILES["CMakeLists.txt"].replace(*change)
    if "libomp" in change[1]:
        text = text.replace("/tmp/libomp.so", str(standin.library(tmp_path / "libomp.so")))
    assert text != FILES["CMakeLists.txt"]
    (tiny.folder / "CMakeLists.txt").write_text(text)
    with pytest.raises(BadInput) as caught:
        compiler.build(every_level(), tiny, ndk)
    assert says in str(caught.value)
    assert list((cache_root() / "builds").iterdir()) == []


def test_a_compiler_that_fails_is_quoted(tiny: Source, make_ndk: MakeNdk) -> None:
    (tiny.folder / "base.c").write_text("#error this is broken\n")
    with pytest.raises(SmoothdroidError, match=r"(?s)ninja failed with status 1.*this is broken"):
        compiler.build(every_level(), tiny, make_ndk())


@pytest.fixture
def kleidiai_tree(tmp_path: Path) -> Path:
    folder = tmp_path / "kleidiai"
    (folder / "kai").mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text("project(KleidiAI)\n")
    (folder / "kai/kai_common.h").write_text("// kai\n")
    return folder


def test_kleidiai_comes_from_a_folder_or_from_cmake_and_makes_another_build(
    tiny: Source, make_ndk: MakeNdk, kleidiai_tree: Path
) -> None:
    ndk, one = make_ndk(), variants.find("arm64-v8a", "v8.0")
    plain = compiler.build_id(one, tiny, ndk)
    local = source.kleidiai(kleidiai_tree)
    made = compiler.build(one, tiny, ndk, kleidiai=local)
    assert (made.manifest.isa, made.folder.name) == ("v8.0+kleidiai", f"arm64-v8a-v8.0+kleidiai-{made.manifest.id}")
    (told,) = cache_root().glob("build-trees/*/told.txt")
    assert told.read_text().endswith(f"KleidiAI ON from {kleidiai_tree}\n")
    assert compiler.find([one], tiny) is None, "other arithmetic, other quality: only whoever names it gets it"
    named = compiler.find([variants.find("arm64-v8a", "v8.0+kleidiai")], tiny)
    assert named is not None
    assert named.manifest == made.manifest

    downloaded = compiler.build_id(one, tiny, ndk, source.kleidiai(None))
    (kleidiai_tree / "kai/kai_common.h").write_text("// another\n")
    other = compiler.build_id(one, tiny, ndk, source.kleidiai(kleidiai_tree))
    assert len({plain, made.manifest.id, downloaded, other}) == 4


def test_a_folder_without_kleidiai_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is no source tree of KleidiAI: CMakeLists\.txt is not there"):
        source.kleidiai(tmp_path)


def test_kleidiai_that_cannot_be_downloaded_is_told_how_to_be_had(tiny: Source, make_ndk: MakeNdk) -> None:
    text = FILES["CMakeLists.txt"] + 'message(FATAL_ERROR "no network")\n'
    (tiny.folder / "CMakeLists.txt").write_text(text)
    with pytest.raises(SmoothdroidError, match=r"(?s)no network.*--kleidiai DIR"):
        compiler.build(variants.find("arm64-v8a", "i8mm"), tiny, make_ndk(), kleidiai=source.kleidiai(None))


@pytest.mark.parametrize("abi", ["arm64-v8a", "x86_64"])
def test_the_pinned_llama_cpp_takes_what_it_is_told(tmp_path: Path, make_ndk: MakeNdk, abi: str) -> None:
    """cmake's part of the real thing, to the commands that would be run: names of files, architectures, no web page."""
    if not PINNED.folder.exists():
        pytest.skip("the pinned llama.cpp is not unpacked here")
    ndk, tree = make_ndk(abi), tmp_path / "tree"
    command = [program("cmake"), "-S", str(PINNED.folder), "-B", str(tree), "-G", "Ninja"]
    command += [f"-DCMAKE_MAKE_PROGRAM={program('ninja')}", *OPTIONS, *ndk.cmake, *every_level(abi).cmake]
    # The stand-in's libc is empty.
    subprocess.run([*command, "-DCMAKE_HAVE_LIBC_PTHREAD=1"], check=True, capture_output=True)
    dry = [program("ninja"), "-C", str(tree), "-n", "-v", *SHARED_TOOLS]
    would_run = subprocess.run(dry, check=True, capture_output=True, text=True).stdout
    made = set(re.findall(r" -o bin/(\S+)", would_run))
    assert {*SHARED_TOOLS, "libllama.so", "libggml.so", "libggml-base.so"} <= made
    kernels = {name for name in made if name.startswith("libggml-cpu-")}
    if abi == "arm64-v8a":
        assert kernels == set(variants.KERNEL_LIBRARIES)
        assert "-march=armv8.6-a+dotprod+fp16+i8mm " in would_run
    else:
        assert {"libggml-cpu-x64.so", "libggml-cpu-haswell.so"} <= kernels
    assert "-Wl,-soname,libllama.so " in would_run, "Android's libraries have no version in their names"
    (web_page,) = re.findall(r"^.*ui-assets\.cmake.*$", would_run, re.MULTILINE)
    assert "-DHF_ENABLED=OFF" in web_page, "it would be downloaded"


@pytest.mark.e2e
@pytest.mark.timeout(5400)
@pytest.mark.skipif(not REAL_NDK, reason="ANDROID_NDK is not set: no real NDK to build the pinned llama.cpp with")
@pytest.mark.parametrize("abi", ["arm64-v8a", "x86_64"])
def test_a_real_ndk_builds_the_pinned_llama_cpp(abi: str) -> None:
    """The checks of each file are the build's own; here is what must be there at all."""
    ndk = for_abi(abi)
    assert (ndk.kind, ndk.why) == ("ndk", "ANDROID_NDK")
    made: Build = compiler.build(every_level(abi), source.pinned(), ndk)
    assert set(made.manifest.tools) == set(SHARED_TOOLS)
    libraries = set(made.manifest.libraries)
    assert {"libllama.so", "libggml.so", "libggml-base.so"} <= libraries
    kernels = {name for name in libraries if name.startswith("libggml-cpu-")}
    if abi == "arm64-v8a":
        assert kernels == set(variants.KERNEL_LIBRARIES)
    else:
        assert {"libggml-cpu-x64.so", "libggml-cpu-haswell.so"} <= kernels
    assert compiler.build(every_level(abi), source.pinned(), ndk).hit
