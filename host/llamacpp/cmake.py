"""The cmake and ninja calls that compile llama.cpp in a folder."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.llamacpp.source import KleidiAI, Source
from smoothdroid.host.llamacpp.toolchain import Toolchain, program
from smoothdroid.host.llamacpp.variants import Variant

OnProgress = Callable[[int, int], None]
"""Called with (compile steps done, compile steps in all), ninja's own count."""

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_LLAMAFILE=OFF",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_NUMBER=0",
)
# An older checkout accepts these silently, and builds something else.
MUST_BE_KNOWN = ("GGML_CPU_ARM_ARCH", "GGML_BACKEND_DL", "GGML_CPU_ALL_VARIANTS", "GGML_CPU_KLEIDIAI")
LINES_SHOWN = 15
"""Lines of the log in the error when a build fails: enough for a compiler's message and its origin."""


def standard_library(variant: Variant, toolchain: Toolchain) -> list[str]:
    """Return the NDK's option that chooses the C++ library: the libraries of one program have to share one."""
    return [f"-DANDROID_STL=c++_{'shared' if toolchain.runtime else 'static'}"] if variant.shared else []


def compile_in(
    variant: Variant,
    source: Source,
    toolchain: Toolchain,
    kleidiai: KleidiAI | None,
    tree: Path,
    jobs: int,
    on_progress: OnProgress | None,
) -> None:
    """Compile the tools of `variant` in the folder `tree`, into `tree`/bin. The log is `tree`/build.log.

    Raises SmoothdroidError with the last lines of the log when cmake or a compiler fails, and BadInput for a checkout
    that does not know an option of the variant.
    """
    _refuse_too_old(source, variant)
    # Assertions carry __FILE__: without the map a binary would depend on where the cache lies.
    # -O3 is in Release too, but cmake probes the compiler without the build type's flags, and a zig that is called
    # without -O builds its C and C++ libraries for debugging, which takes a minute.
    flags = f"-O3 -ffile-prefix-map={source.folder}=llama.cpp -ffile-prefix-map={tree}=build"
    flags += f" -ffile-prefix-map={kleidiai.folder}=kleidiai" if kleidiai and kleidiai.folder else ""
    env = _neutral(os.environ) | toolchain.env | {"CFLAGS": flags, "CXXFLAGS": flags, "NINJA_STATUS": "[%f/%t] "}
    configure = _configure_command(variant, source, toolchain, kleidiai, tree, flags)
    log = tree / "build.log"
    with log.open("w", encoding="utf-8") as record:
        try:
            _logged(configure, env, record.write, log, on_progress=None)
        except SmoothdroidError as error:
            if kleidiai and not kleidiai.folder:
                advice = "cmake downloads KleidiAI; where it cannot, unpack it and name it: --kleidiai DIR"
                raise SmoothdroidError(f"{error}\n{advice}") from error
            raise
        compile_ = [program("ninja"), "-C", str(tree), "-j", str(jobs), *variant.tools]
        _logged(compile_, env, record.write, log, on_progress)


def _configure_command(
    variant: Variant, source: Source, toolchain: Toolchain, kleidiai: KleidiAI | None, tree: Path, flags: str
) -> list[str]:
    configure = [program("cmake"), "-S", str(source.folder), "-B", str(tree), "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={program('ninja')}", f"-DLLAMA_BUILD_COMMIT={source.commit}"]
    # -U: cached results, such as whether the compiler knows dotprod, and cached options are of another ISA level.
    configure += ["-UHAVE_*", "-UGGML_*", *OPTIONS, *toolchain.cmake, *variant.cmake]
    configure += standard_library(variant, toolchain)
    if toolchain.kind == "ndk":
        # The NDK's file sets the flags before cmake looks at the environment. It always compiles with -g; -s removes
        # what that adds.
        configure += [f"-DCMAKE_{language}_FLAGS={flags}" for language in ("C", "CXX")]
        configure += [f"-DCMAKE_{kind}_LINKER_FLAGS=-s" for kind in ("EXE", "SHARED", "MODULE")]
    if kleidiai and kleidiai.folder:
        configure += [f"-DFETCHCONTENT_SOURCE_DIR_KLEIDIAI={kleidiai.folder}"]
    return configure


_SHAPING = frozenset(
    ["LDFLAGS", "CPPFLAGS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "SOURCE_DATE_EPOCH"]
)


def _neutral(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that change what a compiler makes: no identity includes them."""
    return {
        name: value for name, value in env.items() if name not in _SHAPING and not name.startswith(("CMAKE_", "NINJA"))
    }


def _logged(
    command: list[str],
    env: dict[str, str],
    record: Callable[[str], object],
    log: Path,
    on_progress: OnProgress | None,
) -> None:
    last: deque[str] = deque(maxlen=LINES_SHOWN)
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 (stdout is a pipe)
            for line in process.stdout:
                record(line)
                last.append(line.rstrip())
                count = re.match(r"\[(\d+)/(\d+)\] ", line)
                if count and on_progress:
                    on_progress(int(count[1]), int(count[2]))
        except BaseException:
            process.terminate()  # Ctrl-C: ninja deletes what it had half written
            raise
    if process.returncode != 0:
        raise SmoothdroidError(
            f"{Path(command[0]).name} failed with status {process.returncode}; the whole log is {log}. It ends:\n  "
            + "\n  ".join(last)
        )


def _refuse_too_old(source: Source, variant: Variant) -> None:
    lists = [
        file for file in (source.folder / "CMakeLists.txt", source.folder / "ggml/CMakeLists.txt") if file.exists()
    ]
    known = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in lists)
    options = {option.removeprefix("-D").partition("=")[0] for option in variant.cmake}
    if unknown := [name for name in MUST_BE_KNOWN if name in options and name not in known]:
        raise BadInput(
            f"the llama.cpp in {source.folder} does not know {', '.join(unknown)}, which {variant.name} needs: it is "
            "too old or too new. Use another checkout, or leave --llama-cpp out to use the pinned one"
        )
