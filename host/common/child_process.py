"""Heavy steps as processes of their own: their memory is given back when they end, and this one stays light."""

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
"""Called with (what, done, in all)."""

PACKAGES = Path(__file__).parents[3]
"""The folder in which this project's packages are found."""

TAIL_LINES = 8
TRACEBACK = "Traceback (most recent call last)"

ERRORS: dict[str, type[SmoothdroidError]] = {"BadInput": BadInput, "SmoothdroidError": SmoothdroidError}


class Job(BaseModel):
    """What a child process is to do; it gets it in a file."""

    model_config = ConfigDict(extra="forbid")

    events: Path
    """Where it says how it goes: lines of JSON."""


# A child whose parent was killed ends within this time: it would work for minutes for nobody.
LOOK_FOR_PARENT_S = 1.0


class Events:
    """How a child tells its parent of itself; without its parent it ends."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8", buffering=1)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def step(self, text: str) -> None:
        """What begins now."""
        self._write({"step": text})

    def progress(self, what: str, done: int, total: int) -> None:
        """How far it is."""
        self._write({"progress": [what, done, total]})

    def failed(self, error: SmoothdroidError) -> None:
        """What the user is to be told."""
        self._write(
            {"error": next((name for name in ERRORS if isinstance(error, ERRORS[name])), ""), "says": str(error)}
        )

    def _write(self, event: dict[str, object]) -> None:
        self._file.write(json.dumps(event) + "\n")


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_FOR_PARENT_S)
    os.kill(os.getpid(), signal.SIGKILL)


def run_child(
    module: str,
    job: Job,
    log: Path,
    *,
    name: str,
    on_step: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
    look: Callable[[], None] | None = None,
    paths: Mapping[Path, Path] | None = None,
    every_s: float = 0.2,
) -> None:
    """Run `python -m module JOB` to its end, passing on what it tells; `look` is called now and then meanwhile.

    Raises the BadInput or SmoothdroidError that the child told of. Where it fails otherwise, raises SmoothdroidError,
    and then, and only then, what it said is in the file `log`; `name` says who failed. `paths`: a path that the child
    works with -> the user's name for it, which stands in the error.
    """
    job_file, said = (job.events.with_suffix(ending) for ending in (".job", ".log"))
    job_file.write_text(job.model_dump_json(), encoding="utf-8")
    job.events.write_bytes(b"")
    argv = [sys.executable, "-m", module, str(job_file)]
    environment = {
        **{key: value for key, value in os.environ.items() if key != "NO_LOCAL_GGUF"},  # the converter's own gguf-py
        # Nothing is fetched: the checkpoint is all there is.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    error: SmoothdroidError | None = None
    # In the packages' own folder: python -m looks for modules in the current one first, and that may be anybody's.
    with (
        job.events.open(encoding="utf-8") as events,
        said.open("wb") as stream,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=PACKAGES
        ) as process,
    ):
        try:
            ended = False
            while not ended:
                try:
                    process.wait(every_s)
                    ended = True  # and once more around, for what it told last
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
        lines = _without_traceback(said.read_text(encoding="utf-8", errors="replace").strip().splitlines())
        os.replace(said, log)
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
    """The lines with the error at the end of a traceback in the place of all of it."""
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
