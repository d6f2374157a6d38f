"""The installation of the runner's scripts on a phone, and folders that appear there only when complete."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from smoothdroid.device.transport.target import Target, remove

RUNNER = Path(__file__).with_name("runner")

# Prints the sha256 of the runner in the folder $1.
_INSTALLED = 'cat "$1"/*.sh 2>/dev/null | sha256sum'


def install(target: Target) -> str:
    """Install the runner on the phone unless it is there unchanged; return the path of its main script."""
    parts = sorted(RUNNER.glob("*.sh"))
    sha256 = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    folder = f"{target.root}/runner/{sha256[:16]}"
    if target.run(["sh", "-c", _INSTALLED, "installed", folder]).stdout.split()[:1] != [sha256]:
        remove(target, folder)
        write_folder(target, folder, {part.name: part.read_text(encoding="utf-8") for part in parts})
    return f"{folder}/runner.sh"


def write_folder(target: Target, folder: str, files: Mapping[str, str]) -> None:
    """Write a folder of text files (name -> content) that appears on the phone only when complete."""
    part = f"{folder}.part"
    remove(target, part)
    target.run(["mkdir", "-p", part])
    with tempfile.TemporaryDirectory() as here:
        for name, text in files.items():
            file = Path(here, name)
            file.write_text(text, encoding="utf-8", newline="\n")
            target.push(file, f"{part}/{name}")
    target.run(["mv", part, folder])
