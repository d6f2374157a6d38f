"""The check that llama.cpp itself loads and runs a finished GGUF."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from smoothdroid.device.common.errors import SmoothdroidError

# Its messages, the most informative first; each is the first of its kind in the log.
REASONS = (
    re.compile(r"error loading model(?: \w+)?: (?P<why>.+)"),
    re.compile(r"(?P<why>GGML_ASSERT\(.+)"),
    re.compile(r"(?P<why>.*\b(?:error|failed|unsupported|invalid)\b.*)", re.IGNORECASE),
)
TIMESTAMP = re.compile(r"^[\d.]+ [A-Z] ")


def require_loads(gguf: Path, log: Path, tool: Path) -> None:
    """Load the GGUF with the llama-bench `tool` and compute one token.

    Raises SmoothdroidError with llama.cpp's own message where that fails; then, and only then, its output is in `log`.
    """
    # -v: without it llama-bench reports nothing but that it failed. One token: no speed is measured here.
    argv = [str(tool), "-m", str(gguf), "-p", "1", "-n", "0", "-r", "1", "-o", "jsonl", "-v"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=env)
    if done.returncode == 0:
        return
    output = (done.stderr + done.stdout).decode("utf-8", "replace")
    log.write_text(output, encoding="utf-8")
    raise SmoothdroidError(
        f"{gguf.name}: llama.cpp does not load it: {_reason(output, done.returncode)}. It was not published. The whole "
        f"log is {log}"
    )


def _reason(output: str, status: int) -> str:
    lines = [TIMESTAMP.sub("", line).strip() for line in output.splitlines()]
    for reason in REASONS:
        for line in lines:
            if match := reason.search(line):
                return match["why"].rstrip(".")
    if status == -signal.SIGKILL:
        return "it was killed, as happens where the memory is too small for the model"
    return f"{lines[-1] if lines else 'it printed nothing'} (status {status})"
