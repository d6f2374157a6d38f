from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from device.errors import BadInput
from host.build.toolchain import TOOLCHAIN_FILE, for_abi, program

NDK_VARIABLES = ("ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")


@pytest.fixture(autouse=True)
def _no_ndk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NDK_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ndk(tmp_path: Path) -> Path:
    """A folder that looks like an unpacked NDK."""
    folder = tmp_path / "ndk"
    (folder / "build/cmake").mkdir(parents=True)
    (folder / "build/cmake/android.toolchain.cmake").touch()
    (folder / "source.properties").write_text("Pkg.Desc = Android NDK\nPkg.Revision = 27.2.12479018\n")
    return folder


@pytest.mark.parametrize("variable", NDK_VARIABLES)
def test_an_ndk_is_taken_where_one_is_named(ndk: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, str(ndk))
    found = for_abi("arm64-v8a")
    assert re.fullmatch("NDK 27.2.12479018, toolchain [0-9a-f]{8}", found.id)
    assert f"-DANDROID_NDK={ndk}" in found.cmake
    assert "-DANDROID_ABI=arm64-v8a" in found.cmake
    assert f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN_FILE}" in found.cmake


def test_an_ndk_may_be_named_from_here(ndk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cmake would look for a relative path below the folder that it builds in."""
    monkeypatch.chdir(ndk.parent)
    monkeypatch.setenv("ANDROID_NDK", "ndk")
    assert f"-DANDROID_NDK={ndk}" in for_abi("arm64-v8a").cmake


@pytest.mark.parametrize("missing", ["source.properties", "build/cmake/android.toolchain.cmake"])
def test_a_folder_that_is_no_ndk_is_named(ndk: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    (ndk / missing).unlink()
    monkeypatch.setenv("ANDROID_NDK", str(ndk))
    with pytest.raises(BadInput, match=f"ANDROID_NDK points to {ndk}, which is no NDK"):
        for_abi("arm64-v8a")


def test_a_broken_ndk_is_named(ndk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ndk / "source.properties").write_text("")
    monkeypatch.setenv("ANDROID_NDK", str(ndk))
    with pytest.raises(BadInput, match=r"names no Pkg\.Revision"):
        for_abi("arm64-v8a")


def test_without_an_ndk_it_is_zig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    found = for_abi("x86_64")
    assert re.fullmatch(r"zig \d+\.\d+\.\d+, toolchain [0-9a-f]{8}", found.id)
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
    with pytest.raises(BadInput, match=rf"`{re.escape(compiler)} --version` does not run.*build-essential"):
        for_abi("host")


def test_no_compiler_at_all_is_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="build-essential"):
        for_abi("host")


def test_a_missing_program_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"nosuchprogram is not installed: `pip install 'smoothdroid\[build\]'`"):
        program("nosuchprogram")
    assert os.access(program("cmake"), os.X_OK)


def test_the_toolchain_file_is_there_and_says_what_is_wrong(tmp_path: Path) -> None:
    assert TOOLCHAIN_FILE.is_file()
    (tmp_path / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.20)\nproject(x C)\n")
    for number, (option, says) in enumerate(
        (
            ("-DANDROID_NDK=/nonexistent", "no NDK at '/nonexistent'"),
            ("-DSMOOTHDROID_ROAD=gcc", "it can be ndk or zig"),
            ("-DANDROID_ABI=mips", "ANDROID_ABI is 'mips'"),
        )
    ):
        command = [program("cmake"), "-S", str(tmp_path), "-B", str(tmp_path / str(number))]
        command += [f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN_FILE}", option]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert says in " ".join(done.stderr.split())
