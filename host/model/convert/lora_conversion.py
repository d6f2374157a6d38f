"""Convert a PEFT adapter to a GGUF with llama.cpp's own script, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.common.child_process import ChildJob, run_child
from smoothdroid.host.model.convert.conversion import converter

SCRIPT = "convert_lora_to_gguf.py"


class LoraJob(ChildJob):
    """A conversion of an adapter, and the GGUF to write."""

    llama_cpp: Path
    script: Path
    config: Path
    """A folder with the base's config.json."""
    adapter: Path
    """A folder with a PEFT adapter that is trusted: the script reads all of its settings."""
    output: Path
    metadata: dict[str, str]


def to_lora_gguf(
    adapter: Path, config: Path, out: Path, llama_cpp: Path, *, log: Path, metadata: Mapping[str, str]
) -> None:
    """Write the PEFT adapter in the folder `adapter` to the GGUF `out`; `config` is a folder with config.json.

    Raises BadInput where `llama_cpp` has no script for it or the script cannot convert it, SmoothdroidError where the
    script fails; then, and only then, its output is in the file `log`.
    """
    job = LoraJob(
        events=out.with_name(f"{out.name}.events"),
        llama_cpp=llama_cpp,
        script=converter(llama_cpp, SCRIPT),
        config=config,
        adapter=adapter,
        output=out,
        metadata=dict(metadata),
    )
    run_child("smoothdroid.host.model.convert.lora_process", job, log, name=f"llama.cpp's {SCRIPT}")
    if not out.is_file():
        raise SmoothdroidError(f"llama.cpp's {SCRIPT} ended well and wrote no file.")
