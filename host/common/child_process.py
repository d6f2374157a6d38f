"""Child processes for steps that need much memory, which is released when they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from smoothdroid.device.common.errors import BadInput, SmoothdroidError

OnProgress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

PACKAGES = Path(__file__).parents[3]
"""The folder that contains this project's packages."""

PYTHON = sys.executable
"""The interpreter that runs the children."""

TAIL_LINES = 8
TRACEBACK = "Traceback (most recent call last)"

ERRORS: dict[str, type[SmoothdroidError]] = {"BadInput": BadInput, "SmoothdroidError": SmoothdroidError}


class ChildJob(BaseModel):
    """The task of a child process, which reads it from a file."""

    model_config = ConfigDict(extra="forbid")

    events: Path
    """The file for its events: lines of JSON."""


# A child whose parent was killed ends within this time; otherwise it might work for minutes in vain.
PARENT_POLL_S = 1.0


class Events:
    """The events that a child reports to its parent. The child ends when its parent has ended."""

    def __init__(self, file: Path) -> None:
        """Append to `file` and watch the parent."""
        self._file = file.open("a", encoding="utf-8", buffering=1)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def step(self, text: str) -> None:
        """Report the step that begins."""
        self._write({"step": text})

    def progress(self, what: str, done: int, total: int) -> None:
        """Report progress."""
        self._write({"progress": [what, done, total]})

    def failed(self, error: SmoothdroidError) -> None:
        """Report the error to raise in the parent."""
        self._write(
            {"error": next((name for name in ERRORS if isinstance(error, ERRORS[name])), ""), "says": str(error)}
        )

    def _write(self, event: dict[str, object]) -> None:
        self._file.write(json.dumps(event) + "\n")


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def run_child(
    module: str,
    job: ChildJob,
    log: Path,
    *,
    name: str,
    on_step: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
    look: Callable[[], None] | None = None,
    paths: Mapping[Path, Path] | None = None,
    every_s: float = 0.2,
) -> None:
    """Run `python -m module JOB` to its end and forward its events; `look` is called regularly meanwhile.

    Raises the BadInput or SmoothdroidError that the child reported. Where it fails otherwise, raises SmoothdroidError
    with `name` in the message, and only then its output is in the file `log`. `paths` maps paths that the child works
    with to the user's names for them, which replace them in messages.
    """
    job_file, output = (job.events.with_suffix(ending) for ending in (".job", ".log"))
    job_file.write_text(job.model_dump_json(), encoding="utf-8")
    job.events.write_bytes(b"")
    argv = [PYTHON, "-m", module, str(job_file)]
    environment = {
        **{key: value for key, value in os.environ.items() if key != "NO_LOCAL_GGUF"},  # the converter's own gguf-py
        # Nothing is downloaded: the checkpoint must be complete.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    error: SmoothdroidError | None = None
    # In the packages' own folder, because `python -m` looks for modules in the current folder first.
    with (
        job.events.open(encoding="utf-8") as events,
        output.open("wb") as stream,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=PACKAGES
        ) as process,
    ):
        try:
            ended = False
            while not ended:
                try:
                    process.wait(every_s)
                    ended = True  # after one more round, for its last events
                except subprocess.TimeoutExpired:
                    pass
                for line in events:
                    error = _pass_on(json.loads(line), on_step, on_progress) or error
                if look:
                    look()
        except BaseException:
            process.kill()
            raise
    if error:
        raise type(error)(_renamed(str(error), paths))
    if process.returncode:
        lines = _without_traceback(output.read_text(encoding="utf-8", errors="replace").strip().splitlines())
        os.replace(output, log)
        raise SmoothdroidError(
            f"{name} ended with status {process.returncode}; its whole log is {log}\n  "
            + _renamed("\n  ".join(lines[-TAIL_LINES:]), paths)
        )


def _renamed(text: str, paths: Mapping[Path, Path] | None) -> str:
    for path, shown in (paths or {}).items():
        for form in (path, path.resolve()):
            text = text.replace(str(form), str(shown))
    return text


def _without_traceback(lines: list[str]) -> list[str]:
    """Return the lines with the last traceback replaced by its error."""
    starts = [number for number, line in enumerate(lines) if line.startswith(TRACEBACK)]
    if not starts:
        return lines
    ends = [number for number, line in enumerate(lines) if number > starts[-1] and not line.startswith((" ", "\t"))]
    return lines[ends[0] :] if ends else lines


def _pass_on(
    event: dict[str, object], on_step: Callable[[str], None] | None, on_progress: OnProgress | None
) -> SmoothdroidError | None:
    match event:
        case {"step": str(text)} if on_step:
            on_step(text)
        case {"progress": [str(what), int(done), int(total)]} if on_progress:
            on_progress(what, done, total)
        case {"error": str(kind), "says": str(text)}:
            return ERRORS[kind](text)
    return None
