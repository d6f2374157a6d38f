"""The licences that go with a build's binaries: of llama.cpp, its vendored code and the compiler's libraries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.llamacpp.source import Source

# The licences, in ziglang's folder, of the libraries that a static binary contains.
ZIG_LIBRARIES = ("libc/musl/COPYRIGHT", "libcxx/LICENSE.TXT", "libcxxabi/LICENSE.TXT", "libunwind/LICENSE.TXT")


def licences(source: Source, builds: list[Build]) -> dict[str, Path]:
    """Return the licence files by name, for `builds` of an unpacked `source`.

    Raises BadInput when a text that must go with the binaries is not on this machine.
    """
    found = {f"llama.cpp/{path.relative_to(source.folder)}": path for path in _of_llama_cpp(source.folder)}
    if any(build.manifest.toolchain.startswith("zig ") for build in builds):
        found |= _of_zig()
    # The NDK's C++ library is LLVM's, whose licence asks for nothing when it became part of a binary.
    return found


def _of_llama_cpp(folder: Path) -> list[Path]:
    if not (folder / "LICENSE").exists():
        raise BadInput(f"{folder} has no LICENSE, which must go with the binaries: is the checkout whole?")
    # AUTHORS is whom LICENSE means. What has no file of its own below vendor/ is in the public domain, or is not
    # part of these tools.
    patterns = ("LICENSE", "AUTHORS", "licenses/*", "vendor/*/LICEN[CS]E*", "vendor/*/*/LICEN[CS]E*")
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())


def _of_zig() -> dict[str, Path]:
    spec = importlib.util.find_spec("ziglang")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    texts = {f"zig/{name}": folder / "lib" / name for name in ZIG_LIBRARIES} if folder else {}
    texts |= {"zig/LICENSE": folder / "LICENSE"} if folder else {}
    missing = [name for name, path in texts.items() if not path.exists()]
    if not texts or missing:
        raise BadInput(
            "the binaries were built by zig and hold its C library, whose licence must go with them and lies in the "
            "ziglang package"
            + (f" ({', '.join(missing)} is not there)" if missing else ", which is not installed")
            + ": `pip install 'smoothdroid[build]'`"
        )
    return texts
