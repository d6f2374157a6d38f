"""Run llama-perplexity: a model's log-probabilities over a text, by the kernels that will run the model."""

from __future__ import annotations

import codecs
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothdroid.device.common.errors import BadInput, CommandFailed
from smoothdroid.host.llamacpp.exit_causes import ToolDied
from smoothdroid.host.model.evaluate.logits import file_bytes
from smoothdroid.host.model.evaluate.perplexity_output import (
    perplexity_of,
    tokens_of_short_text,
    windows_done,
    windows_planned,
)

OnWindow = Callable[[int, int], None]
"""A callback that gets (windows done, windows in all), or finer steps of the same progress."""

READ_BYTES = 1 << 16


@dataclass(frozen=True)
class PerplexityTask:
    """The text to predict: `windows` windows of `context` tokens, one after the other from its beginning."""

    text: Path
    text_name: str
    context: int
    windows: int
    vocabulary: int
    tokens: NDArray[np.int32] | None = None
    """The tokens [windows, context] that llama.cpp cut the text into for the reference; None while that is run."""

    @property
    def logits_bytes(self) -> int:
        """The size of the file of log-probabilities in bytes."""
        return file_bytes(context=self.context, windows=self.windows, vocabulary=self.vocabulary)


class InferenceKernels(Protocol):
    """The kernels that compute a model: a quality figure holds for a kernel, not for a file alone."""

    @property
    def name(self) -> str:
        """The kernels' name for people: `host-native, llama.cpp 0c1e57098`."""
        ...

    @property
    def id(self) -> str:
        """The identity of the kernels: equal ids compute equal log-probabilities."""
        ...

    def save_logits(
        self, gguf: Path, task: PerplexityTask, destination: Path, on_window: OnWindow | None = None
    ) -> tuple[int, float]:
        """Write the model's log-probabilities to `destination` in llama-perplexity's format.

        Returns (windows, the perplexity over them) as it was computed, to check what is written.
        Raises BadInput when the text is too short, SmoothdroidError when the model does not run.
        """
        ...


@dataclass(frozen=True)
class HostKernels:
    """The kernels of a llama-perplexity that runs on this machine; `id` is the hash of the binary."""

    name: str
    id: str
    binary: Path
    adapters: Mapping[Path, Path] = field(default_factory=dict)
    """The adapter of each GGUF that is run with one."""

    def save_logits(
        self, gguf: Path, task: PerplexityTask, destination: Path, on_window: OnWindow | None = None
    ) -> tuple[int, float]:
        """Write the model's log-probabilities, as InferenceKernels.save_logits.

        Raises CommandFailed when llama-perplexity ends with another status than 0.
        """
        argv = [str(self.binary), *arguments(str(gguf), str(task.text), task, str(destination))]
        argv += with_adapter(str(self.adapters[gguf])) if gguf in self.adapters else []
        # Options may also come from the environment, and LLAMA_ARG_CACHE_TYPE_K alone would change the figures.
        env = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
        return perplexity_of(lambda: _log_of(argv, env, task, on_window))


def _log_of(argv: Sequence[str], env: Mapping[str, str], task: PerplexityTask, on_window: OnWindow | None) -> str:
    """Run llama-perplexity on this machine, and return its output."""
    log, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
    ) as process:
        try:
            while process.stdout and (data := os.read(process.stdout.fileno(), READ_BYTES)):
                log += decoder.decode(data)
                check_length(log, task)  # at once: the windows that are there would take their time
                if on_window and (done := windows_done(log)):
                    on_window(done, task.windows)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise ToolDied(CommandFailed("this machine", argv, process.returncode, stderr=log))
    if on_window:
        on_window(task.windows, task.windows)  # its log may have cut the last window's line in two
    return log


def arguments(model: str, text: str, task: PerplexityTask, destination: str) -> list[str]:
    """Return the arguments of llama-perplexity, with the files' paths where it runs."""
    argv = ["--model", model, "--file", text, "--ctx-size", str(task.context), "--chunks", str(task.windows)]
    # A batch of one window: the default of 2048 tokens takes four times the memory and is no faster on a CPU.
    return [*argv, "--batch-size", str(task.context), "--kl-divergence-base", destination]


def with_adapter(adapter: str) -> list[str]:
    """Return the arguments of llama-perplexity that add an adapter, whose path is that where it runs."""
    return ["--lora", adapter]


def check_length(log: str, task: PerplexityTask) -> None:
    """Raise BadInput when the output of llama-perplexity so far shows that the text is too short for the task."""
    tokens, planned = tokens_of_short_text(log), windows_planned(log)
    if tokens is None and (planned is None or planned >= task.windows):
        return
    # From two windows on it counts windows and does not report the number of tokens.
    has = f"has {tokens} tokens" if tokens is not None else f"fills {planned} windows"
    raise BadInput(
        f"{task.text_name}: the text {has}, and {task.windows} windows of {task.context} tokens "
        f"({task.windows * task.context} tokens) are requested. Give a longer text (--text), fewer windows (--chunks; "
        "at least 2) or shorter ones (--context)."
    )
