"""Checkpoint -> GGUF through llama.cpp's own converter, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from device.errors import BadInput, SmoothdroidError

CONVERTER = "convert_hf_to_gguf.py"
TAIL_LINES = 8


def to_gguf(checkpoint: Path, out: Path, outtype: str, llama_cpp: Path, *, name: str, log: Path) -> None:
    """Write the checkpoint in the folder `checkpoint` to the file `out` as `outtype` ("q8_0", "f32", ...).

    `name` becomes general.name. Raises BadInput where `llama_cpp` holds no converter, SmoothdroidError where it
    fails; then, and only then, what it said is in the file `log`.
    """
    script = converter(llama_cpp)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "NO_LOCAL_GGUF"},
        # Nothing is fetched: the checkpoint is all there is.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    argv = [sys.executable, str(script), str(checkpoint), "--outtype", outtype]
    argv += ["--outfile", str(out), "--model-name", name]
    said = out.with_suffix(".log")  # beside `out`, so that an interruption leaves nothing beside the finished files
    with said.open("wb") as stream:
        status = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if status != 0 or not out.is_file():
        lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        os.replace(said, log)
        raise SmoothdroidError(
            f"llama.cpp's converter ended with status {status} on {checkpoint.name}; its whole log is {log}\n  "
            + "\n  ".join(lines[-TAIL_LINES:])
        )
    said.unlink()


def converter(llama_cpp: Path) -> Path:
    """The converter's script in a llama.cpp source tree. Raises BadInput where it is not there."""
    script = llama_cpp / CONVERTER
    if not script.is_file():
        raise BadInput(f"{llama_cpp}: no {CONVERTER} there. Give the folder of a llama.cpp source tree.")
    return script


def converter_id(llama_cpp: Path) -> str:
    """A name for the code that decides the bytes of a GGUF: the SHA-256 of the converter's Python files."""
    digest = sha256()
    parts = (llama_cpp / part for part in ("conversion", "gguf-py/gguf"))
    for file in sorted([converter(llama_cpp), *(file for part in parts for file in part.rglob("*.py"))]):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(llama_cpp).as_posix()} {len(content)}\n".encode() + content)
    return f"converter-sha256:{digest.hexdigest()}"
