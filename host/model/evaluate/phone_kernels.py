"""The kernels of a phone: llama-perplexity run on the phone, its log-probabilities pulled to the workstation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from smoothdroid.device.common.errors import BadInput, CommandFailed, SmoothdroidError, TargetLost, TargetTimeout
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.store import upload
from smoothdroid.device.store.program import File, Installed, install
from smoothdroid.device.transport.target import Progress, Target, remove
from smoothdroid.host.llamacpp.exit_causes import ToolDied
from smoothdroid.host.model.evaluate.perplexity import OnWindow, PerplexityTask, arguments, check_length, with_adapter
from smoothdroid.host.model.evaluate.perplexity_output import perplexity_of, windows_done

TIMEOUT_S = 12 * 3600.0  # 16 windows of 512 tokens at a fifth of a token per second
FOLDER = "evaluate"  # below the target's root; what a broken connection left there goes with the next call


@dataclass(frozen=True)
class PhoneKernels:
    """The kernels of a llama-perplexity on a phone.

    `id` is the binary's hash where it computes the same on every CPU that runs it, else the build's.
    """

    name: str
    id: str
    binary: Path
    target: Target
    on_push: Progress | None = None
    libraries: Sequence[File] = ()
    """The libraries that the binary needs."""
    adapters: Mapping[Path, Path] = field(default_factory=dict)
    """The adapter of each GGUF that is run with one."""

    def save_logits(
        self, gguf: Path, task: PerplexityTask, destination: Path, on_window: OnWindow | None = None
    ) -> tuple[int, float]:
        """Write the log-probabilities, as InferenceKernels.save_logits. Tool and model stay on the phone, they do not.

        Raises BadInput where the phone has no room for them, CommandFailed when llama-perplexity ends with another
        status than 0, TargetLost and TargetTimeout as every transport does.
        """
        tool = install(self.target, (self.binary, sha256_of(self.binary)), self.libraries, progress=self.on_push)
        model = self._sent(gguf)
        more = with_adapter(self._sent(self.adapters[gguf])) if gguf in self.adapters else []
        return perplexity_of(lambda: self._log_of(tool, model, task, destination, on_window, more))

    def _sent(self, file: Path) -> str:
        return upload.ensure(self.target, file, sha256_of(file), progress=self.on_push)

    def _log_of(
        self,
        tool: Installed,
        model: str,
        task: PerplexityTask,
        destination: Path,
        on_window: OnWindow | None,
        more: Sequence[str],
    ) -> str:
        """Run llama-perplexity on the phone, pull the log-probabilities, and return its output."""
        target, output = self.target, ""

        def receive(piece: str) -> None:
            nonlocal output
            output += piece
            if on_window and (done := windows_done(output)):
                on_window(done, task.windows)

        with _folder(target) as folder:
            if (free := upload.free_bytes(target, folder)) < task.logits_bytes + upload.RESERVE_BYTES:
                raise BadInput(
                    f"{target.name} has {free >> 20} MiB free where the log-probabilities ({task.logits_bytes >> 20} "
                    f"MiB) should go, and {upload.RESERVE_BYTES >> 20} MiB should stay free. Free some, or ask for "
                    "fewer windows (--chunks)."
                )
            text, logits = f"{folder}/text.txt", f"{folder}/logits"
            target.push(task.text, text)
            argv = [tool.path, *arguments(model, text, task, logits), *more]
            try:
                done = target.run(argv, env=tool.env, timeout_s=TIMEOUT_S, on_output=receive, tied=True)
            except CommandFailed as error:
                raise ToolDied(error) from error
            check_length(done.stderr, task)
            # Before it is pulled: a full phone is no error to llama-perplexity.
            size = target.run(["stat", "-c", "%s", logits]).stdout.strip()
            if size != str(task.logits_bytes):
                raise SmoothdroidError(
                    f"{target.name}: llama-perplexity left {size} bytes of log-probabilities, and {task.logits_bytes} "
                    "were expected: is the phone full, or the model another one?"
                )
            target.pull(logits, destination, progress=self.on_push)
        return done.stdout


@contextmanager
def _folder(target: Target) -> Iterator[str]:
    """Yield an empty folder on the phone; remove it afterwards."""
    folder = f"{target.root}/{FOLDER}"
    remove(target, folder)
    target.run(["mkdir", "-p", folder])
    try:
        yield folder
    finally:
        with suppress(TargetLost, TargetTimeout):  # why it ended matters more
            remove(target, folder)
