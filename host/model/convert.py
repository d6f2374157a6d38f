"""Checkpoint -> GGUF through llama.cpp's own converter, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from device.errors import BadInput, SmoothdroidError
from host.model.changes import Changes, save_changes
from host.model.converter_process import Job
from host.model.manifest import Quantisation

CONVERTER = "convert_hf_to_gguf.py"
TAIL_LINES = 8
PACKAGES = Path(__file__).parents[2]
"""The folder in which this project's packages are found."""

# How often it is looked how far the file has grown.
LOOK_EVERY_S = 0.2


def to_gguf(
    checkpoint: Path,
    out: Path,
    quantisation: Quantisation,
    llama_cpp: Path,
    *,
    name: str,
    log: Path,
    changes: Changes | None = None,
    metadata: Mapping[str, str] | None = None,
    expected_bytes: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write the checkpoint in the folder `checkpoint`, with `changes` made, to the file `out`.

    `name` becomes general.name; `metadata` are keys of our own. `on_progress` gets ("write", bytes, expected bytes).
    Raises BadInput where `llama_cpp` holds no converter or a weight is no finite number, SmoothdroidError where the
    converter fails; then, and only then, what it said is in the file `log`.
    """
    converter(llama_cpp)
    work = out.parent
    job = Job(
        llama_cpp=llama_cpp,
        checkpoint=checkpoint,
        output=out,
        quantisation=quantisation,
        name=name,
        changes=work / f"{out.name}.changes" if changes else None,
        metadata=dict(metadata or {}),
        complaint=work / f"{out.name}.complaint",
    )
    if changes and job.changes:
        save_changes(changes, job.changes)
    job_file = work / f"{out.name}.job"
    job_file.write_text(job.model_dump_json(), encoding="utf-8")
    said = work / f"{out.name}.log"  # beside `out`, so that an interruption leaves nothing beside the finished files
    status = _run(job_file, said, out, lambda: _tell(out, expected_bytes, on_progress))
    if job.complaint.exists():
        raise BadInput(job.complaint.read_text(encoding="utf-8"))
    if status != 0 or not out.is_file():
        lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        os.replace(said, log)
        raise SmoothdroidError(
            f"llama.cpp's converter ended with status {status} on {checkpoint.name}; its whole log is {log}\n  "
            + "\n  ".join(lines[-TAIL_LINES:])
        )


def _run(job: Path, said: Path, out: Path, tell: Callable[[], None]) -> int:
    argv = [sys.executable, "-m", "host.model.converter_process", str(job)]
    environment = {
        **{key: value for key, value in os.environ.items() if key != "NO_LOCAL_GGUF"},
        # Nothing is fetched: the checkpoint is all there is.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    # In the packages' own folder: python -m looks for modules in the current one first, and that may be anybody's.
    with (
        said.open("wb") as stream,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=PACKAGES
        ) as process,
    ):
        try:
            while process.poll() is None:
                time.sleep(LOOK_EVERY_S)
                tell()
        except BaseException:
            process.kill()
            raise
    return process.returncode


def _tell(out: Path, expected_bytes: int, on_progress: Callable[[str, int, int], None] | None) -> None:
    if on_progress and expected_bytes and out.exists():
        on_progress("write", min(out.stat().st_size, expected_bytes), expected_bytes)


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
