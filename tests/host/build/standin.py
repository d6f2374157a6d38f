"""A stand-in for an NDK, which no registry has: its layout, its kind of toolchain file, and a clang that is zig.

What comes out are real ELF files for arm64 and x86_64 that ask for bionic's loader and libraries; only bionic itself
is empty. The toolchain file behaves as the NDK's own does where that matters, and records what it is given.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from smoothdroid.host.llamacpp.toolchain import _zig

TRIPLES = {"arm64-v8a": "aarch64-linux-android", "x86_64": "x86_64-linux-android"}
PREBUILT = "toolchains/llvm/prebuilt/linux-x86_64"
GIVEN = "given.txt"

TOOLCHAIN = """
cmake_minimum_required(VERSION 3.6.0...3.28)
get_filename_component(ANDROID_NDK "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ANDROID_ABI ANDROID_PLATFORM ANDROID_STL)
set(given "")
foreach(name ANDROID_ABI ANDROID_PLATFORM ANDROID_STL ANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES)
  string(APPEND given "${name}=${${name}}\\n")
endforeach()
file(APPEND "${ANDROID_NDK}/given.txt" "${given}")

set(CMAKE_SYSTEM_NAME Android)
set(CMAKE_SYSTEM_VERSION 1)
if(ANDROID_ABI STREQUAL "arm64-v8a")
  set(CMAKE_SYSTEM_PROCESSOR aarch64)
else()
  set(CMAKE_SYSTEM_PROCESSOR x86_64)
endif()
set(bin "${ANDROID_NDK}/toolchains/llvm/prebuilt/linux-x86_64/bin")
set(CMAKE_C_COMPILER "${bin}/clang")
set(CMAKE_CXX_COMPILER "${bin}/clang++")
set(CMAKE_AR "${bin}/llvm-ar" CACHE FILEPATH "")
set(CMAKE_RANLIB "${bin}/llvm-ranlib" CACHE FILEPATH "")

# As the NDK does: set before cmake looks at the environment, whose CFLAGS therefore count for nothing.
set(CMAKE_C_FLAGS "" CACHE STRING "")
set(CMAKE_CXX_FLAGS "" CACHE STRING "")
set(CMAKE_EXE_LINKER_FLAGS "" CACHE STRING "")
set(CMAKE_SHARED_LINKER_FLAGS "" CACHE STRING "")
set(CMAKE_MODULE_LINKER_FLAGS "" CACHE STRING "")
set(CMAKE_C_FLAGS "--abi=${ANDROID_ABI} -g -DANDROID -fPIC ${CMAKE_C_FLAGS}")
set(CMAKE_CXX_FLAGS "--abi=${ANDROID_ABI} -g -DANDROID -fPIC ${CMAKE_CXX_FLAGS}")
set(CMAKE_EXE_LINKER_FLAGS "--stl=${ANDROID_STL} ${CMAKE_EXE_LINKER_FLAGS}")
set(CMAKE_SHARED_LINKER_FLAGS "--stl=${ANDROID_STL} ${CMAKE_SHARED_LINKER_FLAGS}")
set(CMAKE_MODULE_LINKER_FLAGS "--stl=${ANDROID_STL} ${CMAKE_MODULE_LINKER_FLAGS}")
"""

# clang as the NDK's: position independent, bionic's loader, pages of 4 KiB unless told otherwise (as until r27), and
# -march in clang's spelling, which zig has to be told in its own.
CLANG = """#!/bin/sh
here=$(dirname "$0")
linking=yes abi=arm64-v8a stl= n=$# shared=
while [ $n -gt 0 ]; do
  arg=$1; shift; n=$((n - 1))
  case $arg in
    -c|-E|-S|--version|-v) linking= ;;
    -shared) shared=yes ;;
    --abi=*) abi=${arg#--abi=}; continue ;;
    --stl=*) stl=${arg#--stl=}; continue ;;
    -march=armv*) arg=$(printf %s "$arg" | sed -E -e 's/=armv([0-9]+)[.]([0-9]+)-a/=generic+v\\1_\\2a/' \\
      -e 's/=armv([0-9]+)-a/=generic+v\\1a/' -e 's/[+]fp16([+]|$)/+fullfp16\\1/' -e 's/-march/-mcpu/') ;;
    -march=x86-64-v3) arg=-march=x86_64_v3 ;;
    -latomic|-lm|-ldl|-pthread|-rdynamic) continue ;;
  esac
  set -- "$@" "$arg"
done
case $abi in arm64-v8a) arch=aarch64 ;; *) arch=x86_64 ;; esac
if [ $linking ]; then
  lib=$here/../sysroot/usr/lib/$arch-linux-android
  [ $shared ] || set -- -pie -Wl,--dynamic-linker=/system/bin/linker64 "$@"
  [ "$stl" = c++_shared ] && set -- "$@" "$lib/libc++_shared.so"
  set -- -Wl,-z,max-page-size=4096 -Wl,--no-as-needed "$@" "$lib/28/libc.so"
fi
exec '@ZIG@' cc -target $arch-linux-musl -nostdlib -fno-sanitize=all "$@"
"""


def make(
    folder: Path, *, revision: str = "27.2.12479018", abis: tuple[str, ...] = tuple(TRIPLES), stl_alignment: int = 16384
) -> Path:
    """An unpacked NDK in `folder`."""
    binary, _ = _zig_binary()
    (folder / "build/cmake").mkdir(parents=True)
    (folder / "build/cmake/android.toolchain.cmake").write_text(TOOLCHAIN)
    (folder / "source.properties").write_text(f"Pkg.Desc = Android NDK\nPkg.Revision = {revision}\n")
    programs = {name: CLANG.replace("@ZIG@", binary) for name in ("clang", "clang++")}
    programs |= {f"llvm-{name}": f"#!/bin/sh\nexec '{binary}' {name} \"$@\"\n" for name in ("ar", "ranlib")}
    (folder / PREBUILT / "bin").mkdir(parents=True)
    for name, text in programs.items():
        (folder / PREBUILT / "bin" / name).write_text(text)
        (folder / PREBUILT / "bin" / name).chmod(0o755)
    for abi in abis:
        sysroot(folder, abi, stl_alignment=stl_alignment)
    return folder


def sysroot(folder: Path, abi: str, api: str = "28", *, stl_alignment: int = 16384) -> None:
    """What an NDK has for one ABI, at one API level."""
    binary, env = _zig_binary()
    lib = folder / PREBUILT / "sysroot/usr/lib" / TRIPLES[abi]
    (lib / api).mkdir(parents=True)
    for name, alignment in ((f"{api}/libc.so", 4096), ("libc++_shared.so", stl_alignment)):
        source = lib / f"{name}.c"
        source.write_text("int nothing;\n")
        command = [binary, "cc", "-target", f"{TRIPLES[abi].split('-')[0]}-linux-musl", "-nostdlib", "-shared"]
        command += [f"-Wl,-z,max-page-size={alignment}", f"-Wl,-soname,{Path(name).name}"]
        subprocess.run([*command, str(source), "-o", str(lib / name)], check=True, env=os.environ | env)
        source.unlink()


def library(path: Path) -> Path:
    """A library for arm64 that no phone has."""
    binary, env = _zig_binary()
    path.with_suffix(".c").write_text("int nothing;\n")
    command = [binary, "cc", "-target", "aarch64-linux-musl", "-nostdlib", "-shared", f"-Wl,-soname,{path.name}"]
    command += [str(path.with_suffix(".c")), "-o", str(path)]
    subprocess.run(command, check=True, env=os.environ | env)
    return path


def _zig_binary() -> tuple[str, dict[str, str]]:
    zig = _zig("arm64-v8a", "")
    (binary,) = (option.split("=", 1)[1] for option in zig.cmake if option.startswith("-DSMOOTHDROID_ZIG="))
    return binary, zig.env
