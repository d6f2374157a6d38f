from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from smoothdroid.device.common import system
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.llamacpp import elf
from smoothdroid.host.llamacpp.toolchain import TOOLCHAIN_FILE, Decision, decide, for_abi, program
from tests.host.build import standin

NDK_VARIABLES = ("ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")
SDK_VARIABLES = ("ANDROID_HOME", "ANDROID_SDK_ROOT")

MEND = re.escape(system.this().fix("compiler"))


@pytest.fixture(autouse=True)
def _no_ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # zig's own cache stays the user's: filling a new one takes a minute.
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(cache_root() / "zig")))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in (*NDK_VARIABLES, *SDK_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ndk(tmp_path: Path) -> Path:
    return standin.make(tmp_path / "ndk")


@pytest.mark.parametrize("variable", NDK_VARIABLES)
def test_an_ndk_is_taken_where_one_is_named(ndk: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, str(ndk))
    found = for_abi("arm64-v8a")
    assert re.fullmatch(r"NDK 27\.2\.12479018, toolchain [0-9a-f]{8}", found.id)
    assert (found.kind, found.why) == ("ndk", variable)
    assert f"-DSMOOTHDROID_NDK={ndk}" in found.cmake
    assert "-DANDROID_ABI=arm64-v8a" in found.cmake
    assert f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN_FILE}" in found.cmake


def test_static_programs_are_zigs_though_there_is_an_ndk(ndk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_NDK", str(ndk))
    decision = decide("x86_64", static=True)
    assert (decision.kind, decision.why) == ("zig", "static build: for a phone without bionic")
    assert for_abi("arm64-v8a", static=True).id.startswith("zig ")


def test_an_ndk_may_be_named_from_here(ndk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cmake would look for a relative path below the folder that it builds in."""
    monkeypatch.chdir(ndk.parent)
    monkeypatch.setenv("ANDROID_NDK", "ndk")
    assert decide("arm64-v8a").ndk == ndk


def spoil(ndk: Path, how: str) -> None:
    """Break an NDK as downloads, old versions and slim images do."""
    match how:
        case "old":
            (ndk / "source.properties").write_text("Pkg.Revision = 23.1.7779620\n")
        case "no revision":
            (ndk / "source.properties").write_text("")
        case "no compiler":
            shutil.rmtree(ndk / standin.PREBUILT / "bin")
        case "no ABI":
            shutil.rmtree(ndk / standin.PREBUILT / "sysroot/usr/lib/aarch64-linux-android")
        case "no API":
            (ndk / standin.PREBUILT / "sysroot/usr/lib/aarch64-linux-android/28/libc.so").unlink()
        case _:
            (ndk / how).unlink()


SPOILT = {
    "source.properties": "it is no NDK",
    "build/cmake/android.toolchain.cmake": "it is no NDK",
    "no revision": "it is broken: its source.properties names no Pkg.Revision",
    "old": "it is 23.1.7779620, and r24 or newer is needed",
    "no compiler": "it is broken: toolchains/llvm/prebuilt/*/bin/clang is not there",
    "no ABI": "it has nothing for arm64-v8a at android-28",
    "no API": "it has nothing for arm64-v8a at android-28",
}


@pytest.mark.parametrize("how", SPOILT)
def test_an_ndk_that_was_named_and_is_no_use_is_bad_input(ndk: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    spoil(ndk, how)
    monkeypatch.setenv("ANDROID_NDK", str(ndk))
    with pytest.raises(BadInput) as caught:
        for_abi("arm64-v8a")
    message = str(caught.value)
    assert f"ANDROID_NDK names the NDK {ndk}, and {SPOILT[how]}" in message
    assert "unset it to build with zig" in message
    if "ABI" in how or "API" in how:
        assert decide("x86_64").ndk == ndk


def test_the_newest_ndk_under_an_sdk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = tmp_path / "home/Android/Sdk"
    for revision in ("9.9.9999999", "25.2.9519653", "26.1.10909125", "100.0.1"):
        standin.make(sdk / "ndk" / revision, revision=revision, abis=())
    for revision in ("25.2.9519653", "26.1.10909125", "100.0.1"):
        standin.sysroot(sdk / "ndk" / revision, "arm64-v8a")
    assert decide("arm64-v8a") == Decision("ndk", sdk / "ndk/100.0.1", f"the newest under the SDK {sdk}")

    # What merely lies there must not stand in the way.
    for how, folder in (("no compiler", "100.0.1"), ("source.properties", "26.1.10909125")):
        spoil(sdk / "ndk" / folder, how)
    assert decide("arm64-v8a").ndk == sdk / "ndk/25.2.9519653"
    spoil(sdk / "ndk/25.2.9519653", "old")
    none = decide("arm64-v8a")
    assert (none.kind, none.ndk) == ("zig", None)
    assert f"{sdk}/ndk/9.9.9999999 was left aside: it is 9.9.9999999, and r24 or newer is needed" in none.why
    assert f"{sdk}/ndk/100.0.1 was left aside: it is broken" in none.why


def test_what_is_named_comes_before_what_is_found(ndk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name: tmp_path / name for name in SDK_VARIABLES}
    for name, sdk in places.items():
        standin.make(sdk / "ndk/28.0.1", revision="28.0.1", abis=("arm64-v8a",))
        monkeypatch.setenv(name, str(sdk))
    assert decide("arm64-v8a").ndk == places["ANDROID_HOME"] / "ndk/28.0.1"
    monkeypatch.delenv("ANDROID_HOME")
    assert decide("arm64-v8a").ndk == places["ANDROID_SDK_ROOT"] / "ndk/28.0.1"
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(ndk))
    assert decide("arm64-v8a").ndk == ndk


@pytest.mark.parametrize(("alignment", "shipped"), [(16384, True), (65536, True), (4096, False)])
def test_a_shared_cpp_library_is_shipped_where_every_phone_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alignment: int, shipped: bool
) -> None:
    monkeypatch.setenv("ANDROID_NDK", str(standin.make(tmp_path / "ndk", stl_alignment=alignment)))
    runtime = for_abi("x86_64").runtime
    assert (runtime is not None) is shipped
    assert runtime is None or "x86_64-linux-android" in str(runtime)


def test_without_an_ndk_it_is_zig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    found = for_abi("x86_64")
    assert re.fullmatch(r"zig \d+\.\d+\.\d+, toolchain [0-9a-f]{8}", found.id)
    assert (found.kind, found.why) == ("zig", "no NDK is named or found under an Android SDK")
    assert "-DSMOOTHDROID_ROAD=zig" in found.cmake
    assert "-DANDROID_ABI=x86_64" in found.cmake
    assert found.env == {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig")}
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/elsewhere")
    assert for_abi("x86_64").env == {"ZIG_GLOBAL_CACHE_DIR": "/elsewhere"}


def test_this_machines_compiler_is_known_with_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    found = for_abi("host")
    assert re.search(r"\d+\.\d+.* native-[0-9a-f]{8}$", found.id)
    assert (found.cmake, found.env) == ((), {})
    monkeypatch.setenv("CXX", "env c++")  # as people write `ccache c++`
    assert for_abi("host").id == found.id


@pytest.mark.parametrize("compiler", ["/nonexistent/c++", "nosuchcompiler", "false"])
def test_a_compiler_that_does_not_run_is_bad_input(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(BadInput, match=rf"`{re.escape(compiler)} --version` does not run.*{MEND}"):
        for_abi("host")


def test_no_compiler_at_all_is_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=MEND):
        for_abi("host")


def test_a_missing_program_is_bad_input() -> None:
    with pytest.raises(BadInput, match="nosuchprogram is not installed: install nosuchprogram"):
        program("nosuchprogram")
    assert os.access(program("cmake"), os.X_OK)


# A source file whose strings name the architecture and the toolchain that compiled it.
TELLS = """
#if defined(__ARM_FEATURE_DOTPROD)
const char dotprod[] = "told: dotprod";
#endif
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
const char fp16[] = "told: fp16";
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
const char i8mm[] = "told: i8mm";
#endif
#if defined(__AVX2__)
const char avx2[] = "told: avx2";
#endif
int main(void) { return 0; }
"""


def by_hand(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """cmake on a project of one C file, as people call it. Release: for debugging, zig takes a minute to link."""
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(x C)\ninclude(CheckCSourceCompiles)\n"
        'check_c_source_compiles("int main(void) { return 0; }" COMPILES)\n'
        'if(NOT COMPILES)\n  message(FATAL_ERROR "nothing compiles")\nendif()\n'
        "add_library(told STATIC x.c)\nadd_executable(x x.c)\n"
    )
    (folder / "x.c").write_text(TELLS)
    build = folder / "build"
    shutil.rmtree(build, ignore_errors=True)
    command = [program("cmake"), "-S", str(folder), "-B", str(build), "-G", "Ninja"]
    command += [f"-DCMAKE_MAKE_PROGRAM={program('ninja')}", f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN_FILE}"]
    return subprocess.run(
        [*command, "-DCMAKE_BUILD_TYPE=Release", *options], capture_output=True, text=True, check=False
    )


def made(folder: Path, what: str = "x") -> Path:
    done = subprocess.run([program("ninja"), "-C", str(folder / "build"), what], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return folder / "build" / what


def told(folder: Path) -> set[str]:
    """Of the object alone: nothing is linked."""
    return {word.decode() for word in re.findall(rb"told: (\w+)", made(folder, "libtold.a").read_bytes())}


FLAGS = {
    "-march=armv8-a": set(),
    "-march=armv8.2-a": set(),
    "-march=armv8.2-a+dotprod": {"dotprod"},
    "-march=armv8.2-a+fp16+dotprod": {"dotprod", "fp16"},
    "-march=armv8.2-a+dotprod+fp16+i8mm": {"dotprod", "fp16", "i8mm"},
    "-march=armv9-a": {"dotprod", "fp16"},
}


@pytest.mark.parametrize("kind", ["ndk", "zig"])
def test_an_architecture_is_given_in_llama_cpps_words_with_both_toolchains(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    if kind == "ndk":
        options = [f"-DANDROID_NDK={standin.make(tmp_path / 'ndk')}"]
    else:
        options = [option for option in for_abi("arm64-v8a").cmake if "SMOOTHDROID_ZIG=" in option]
        # cmake's own questions link nothing either: for each architecture, zig would make a C library first, a minute.
        options.append("-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY")
        options += ["-DCMAKE_C_COMPILER_ID_RUN=TRUE", "-DCMAKE_C_COMPILER_ID=Clang"]
    for flag, expected in FLAGS.items():
        done = by_hand(folder, *options, f"-DCMAKE_C_FLAGS={flag}")
        assert done.returncode == 0, done.stderr
        assert told(folder) == expected, flag
    if kind == "zig":  # what the stand-in's clang knows is no proof of anything
        assert by_hand(folder, *options, "-DCMAKE_C_FLAGS=-march=armv8.6-a+nofp16").returncode == 0
        assert told(folder) == {"dotprod", "i8mm"}
    assert by_hand(folder, *options, "-DANDROID_ABI=x86_64", "-DCMAKE_C_FLAGS=-march=x86-64-v3").returncode == 0
    assert told(folder) == {"avx2"}


def test_by_hand_it_hands_over_to_the_ndks_own_file_and_says_so(ndk: Path, tmp_path: Path) -> None:
    done = by_hand(tmp_path, f"-DANDROID_NDK={ndk}")
    assert f"smoothdroid: NDK {ndk} (ANDROID_NDK), arm64-v8a, android-28" in done.stdout
    given = set((ndk / standin.GIVEN).read_text().split())
    assert {"ANDROID_ABI=arm64-v8a", "ANDROID_PLATFORM=android-28", "ANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON"} <= given
    program = elf.read(made(tmp_path))
    assert (program.machine, program.interpreter, program.needed) == ("EM_AARCH64", elf.BIONIC_LOADER, ("libc.so",))
    assert program.alignment_bytes == 16384
    (ndk / standin.GIVEN).unlink()
    standin.sysroot(ndk, "x86_64", "31")
    done = by_hand(tmp_path, f"-DANDROID_NDK={ndk}", "-DANDROID_ABI=x86_64", "-DANDROID_PLATFORM=android-31")
    assert f"smoothdroid: NDK {ndk} (ANDROID_NDK), x86_64, android-31" in done.stdout
    assert "ANDROID_PLATFORM=android-31" in (ndk / standin.GIVEN).read_text()
    assert elf.read(made(tmp_path)).machine == "EM_X86_64"


def test_by_hand_without_an_ndk_it_is_zig_and_says_why(tmp_path: Path) -> None:
    options = [option for option in for_abi("arm64-v8a").cmake if "SMOOTHDROID_ZIG=" in option]
    done = by_hand(tmp_path, *options)
    assert "(no NDK is named or found under an Android SDK), aarch64-linux-musl, static" in done.stdout
    static = elf.read(made(tmp_path))
    assert (static.machine, static.interpreter, static.needed) == ("EM_AARCH64", None, ())


def test_a_build_folder_stays_on_its_road(ndk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_NDK", str(ndk))
    by_hand(tmp_path)
    monkeypatch.delenv("ANDROID_NDK")
    again = subprocess.run([program("cmake"), str(tmp_path / "build")], capture_output=True, text=True, check=True)
    assert f"smoothdroid: NDK {ndk} (ANDROID_NDK)" in again.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-DANDROID_NDK=/nonexistent"], "ANDROID_NDK names the NDK /nonexistent, and it is no NDK"),
        (["-DSMOOTHDROID_ROAD=ndk"], "no NDK was found. Set ANDROID_NDK to an unpacked NDK of r24 or newer"),
        (["-DSMOOTHDROID_ROAD=gcc"], "it can be ndk or zig"),
        (["-DANDROID_ABI=mips"], "ANDROID_ABI is 'mips'"),
    ],
)
def test_by_hand_it_says_what_is_wrong(tmp_path: Path, options: list[str], says: str) -> None:
    done = by_hand(tmp_path, *options)
    assert done.returncode != 0
    assert says in " ".join(done.stderr.split())
