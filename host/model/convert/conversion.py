"""Convert a checkpoint to a GGUF with llama.cpp's own converter, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.common.child_process import ChildJob, OnProgress, run_child

CONVERTER = "convert_hf_to_gguf.py"


class ConvertJob(ChildJob):
    """A conversion: the checkpoint, and the GGUF to write."""

    llama_cpp: Path
    checkpoint: Path
    output: Path
    matrices: str
    """The type of the matrices, one of `file_types.CONVERTED`."""
    head: str | None
    """The type of the head's tensor, None for that of the other matrices."""
    name: str
    changes: Path | None
    """A file that `save_changes` wrote."""
    metadata: dict[str, str]
    """Additional metadata of the GGUF."""


def to_gguf(
    checkpoint: Path,
    out: Path,
    matrices: str,
    llama_cpp: Path,
    *,
    name: str,
    log: Path,
    head: str | None = None,
    changes: Path | None = None,
    metadata: Mapping[str, str] | None = None,
    expected_bytes: int = 0,
    shown: Path | None = None,
    on_step: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Write the checkpoint in the folder `checkpoint`, with the changes in the file `changes`, to the file `out`.

    `matrices` and `head` are types of tensors, some of `file_types.CONVERTED`. `name` becomes general.name; `metadata`
    are keys of our own. `shown` is the user's name for the checkpoint, for messages. `on_progress` gets ("write",
    bytes, expected bytes).
    Raises BadInput where `llama_cpp` holds no converter, a weight is no finite number, or llama.cpp has no place for a
    tensor or the vocabulary; SmoothdroidError where the converter fails; then, and only then, its output is in the
    file `log`.
    """
    converter(llama_cpp)
    job = ConvertJob(
        events=out.with_name(f"{out.name}.events"),
        llama_cpp=llama_cpp,
        checkpoint=checkpoint,
        output=out,
        matrices=matrices,
        head=head,
        name=name,
        changes=changes,
        metadata=dict(metadata or {}),
    )
    who = f"llama.cpp's converter, on {checkpoint.name},"
    run_child(
        "smoothdroid.host.model.convert.converter_process",
        job,
        log,
        name=who,
        on_step=on_step,
        look=_growth(out, expected_bytes, on_progress),
        paths={checkpoint: shown or checkpoint},
    )
    if not out.is_file():
        raise SmoothdroidError(f"{who} ended well and wrote no file.")


def _growth(out: Path, expected_bytes: int, on_progress: OnProgress | None) -> Callable[[], None]:
    def look() -> None:
        if on_progress and expected_bytes and out.exists():
            on_progress("write", min(out.stat().st_size, expected_bytes), expected_bytes)

    return look


def converter(llama_cpp: Path, name: str = CONVERTER) -> Path:
    """Return a converter's script in a llama.cpp source tree. Raises BadInput where it is not there."""
    script = llama_cpp / name
    if not script.is_file():
        raise BadInput(f"{llama_cpp}: no {name} there. Give the folder of a llama.cpp source tree.")
    return script


def converter_id(llama_cpp: Path) -> str:
    """Return a name for the code that decides the bytes of a GGUF: the SHA-256 of the converter's Python files."""
    digest = sha256()
    parts = (llama_cpp / part for part in ("conversion", "gguf-py/gguf"))
    for file in sorted([converter(llama_cpp), *(file for part in parts for file in part.rglob("*.py"))]):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(llama_cpp).as_posix()} {len(content)}\n".encode() + content)
    return f"converter-sha256:{digest.hexdigest()}"
