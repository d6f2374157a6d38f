"""Run llama.cpp's own quantiser, llama-quantize, and name the types it fell back to."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.gguf.file_types import FILE_TYPES, fitting, wanted_head
from smoothdroid.host.gguf.reader import GgufFile

REASON = re.compile(r"(?:failed to quantize|error|exception)\w*: *(?P<why>.+)", re.IGNORECASE)


def quantise(
    exact: Path,
    out: Path,
    file_type: str,
    tool: Path,
    *,
    log: Path,
    head: str | None = None,
    tied: bool = False,
    imatrix: Path | None = None,
) -> None:
    """Write the float32 GGUF `exact` to the file `out` as `file_type`, with the llama-quantize `tool`.

    `head`: the type of the head's tensor, which is the embedding where the two are `tied`; None leaves it to the tool.
    `imatrix`: an importance matrix, in the folder of `out`. Raises SmoothdroidError with the tool's own message where
    it fails; then, and only then, its output is in the file `log`.
    """
    argv = [str(tool)]
    if head:
        argv += ["--token-embedding-type" if tied else "--output-tensor-type", head]
    if imatrix:
        argv += ["--imatrix", imatrix.name]  # the tool writes this name into the file, which must not depend on folders
    env = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    done = subprocess.run(
        [*argv, str(exact), str(out), file_type],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=out.parent,
    )
    if done.returncode == 0 and out.is_file():
        return
    said = done.stdout.decode("utf-8", "replace")
    log.write_text(said, encoding="utf-8")
    found = REASON.search(said)
    why = found["why"].strip() if found else (said.strip().splitlines() or ["it printed nothing"])[-1]
    raise SmoothdroidError(
        f"llama-quantize, on {out.name}, failed: {why} (status {done.returncode}). Its output is {log}"
    )


def fallbacks(gguf: Path, file_type: str, chosen_head: str | None) -> str | None:
    """Describe the tensors of a finished GGUF whose width their type does not allow, and what they are; None for none.

    `chosen_head`: the user's choice among `file_types.HEADS`, if any.
    """
    row, tensors = FILE_TYPES[file_type], GgufFile(gguf).tensors
    head = "output.weight" if any(tensor.name == "output.weight" for tensor in tensors) else "token_embd.weight"
    found: Counter[tuple[str, str, int]] = Counter()
    for tensor in tensors:
        wanted = (wanted_head(file_type, chosen_head),) if tensor.name == head else (row.matrices, row.more)
        is_type, width = tensor.tensor_type.name.lower(), int(tensor.shape[0])
        for origin in filter(None, wanted if len(tensor.shape) > 1 else ()):
            if origin != is_type == fitting(origin, width):
                found[origin, is_type, width] += 1
                break
    if not found:
        return None
    named = ", ".join(
        f"{is_type} for {origin} in {count} {'tensor' if count == 1 else 'tensors'} of width {width}"
        for (origin, is_type, width), count in sorted(found.items())
    )
    return f"{gguf.name}: llama.cpp's fallback for widths that are no multiple of a type's block: {named}"
