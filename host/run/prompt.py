"""Run one prompt on a phone: the answer, and its speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import CommandFailed, SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.store import upload
from smoothdroid.device.store.program import File, Installed, install
from smoothdroid.device.transport.target import OnOutput, Progress, Target
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp import command_lines
from smoothdroid.host.llamacpp.exit_causes import why_it_died
from smoothdroid.host.llamacpp.tool_output import CompletionRecord, NoNumber, parse_completion

TIMEOUT_S = 3600.0
END_OF_TEXT = "[end of text]"  # llama-completion's own remark, not the model's


@dataclass(frozen=True)
class Sampling:
    """The settings of an answer."""

    threads: int
    max_tokens: int
    temperature: float
    seed: int
    raw: bool
    """Continue the text as it is, without the model's chat template."""


@dataclass(frozen=True)
class PromptAnswer:
    """The answer to a prompt."""

    text: str
    timings: CompletionRecord | None
    """None when prompt or answer were a single token, for which llama.cpp reports an infinite rate."""


@dataclass(frozen=True)
class PromptFiles:
    """The program, the model and its adapter on the phone."""

    tool: Installed
    model: str
    adapter: str | None = None


def deploy(
    target: Target,
    tool: File,
    model: Artifact,
    *,
    adapter: Path | None = None,
    extra_files: Sequence[File] = (),
    on_step: Callable[[str], None] = lambda step: None,
    on_push: Progress | None = None,
) -> PromptFiles:
    """Put llama-completion (`tool`), its `extra_files`, the model and its adapter on the phone, unless they are there.

    The caller has checked that the adapter was made for this model (`adapter_manifest.require_base`).
    """
    on_step(f"deploying {model.name}")
    installed = install(target, tool, extra_files, progress=on_push)
    there = upload.ensure(target, model.path, model.sha256, progress=on_push, sampled=True)
    with_it = upload.ensure(target, adapter, sha256_of(adapter), progress=on_push) if adapter else None
    return PromptFiles(installed, there, with_it)


def ask(
    target: Target, deployed: PromptFiles, prompt: str, sampling: Sampling, *, on_output: OnOutput | None = None
) -> PromptAnswer:
    """Run `prompt` through the model on the phone and return the answer.

    Raises SmoothdroidError with the cause when llama-completion ends with an error.
    """
    argv = command_lines.llama_completion(
        deployed.tool.path,
        deployed.model,
        prompt,
        max_tokens=sampling.max_tokens,
        threads=sampling.threads,
        temperature=sampling.temperature,
        seed=sampling.seed,
    )
    argv += ["--lora", deployed.adapter] if deployed.adapter else []
    argv += ["-no-cnv"] if sampling.raw else ["--single-turn"]
    try:
        done = target.run(argv, env=deployed.tool.env, timeout_s=TIMEOUT_S, on_output=on_output, tied=True)
    except CommandFailed as error:
        raise SmoothdroidError(why_it_died(error)) from error
    text = done.stdout.rstrip().removesuffix(END_OF_TEXT).rstrip()
    try:
        return PromptAnswer(text, parse_completion(done.stderr))
    except NoNumber:
        return PromptAnswer(text, None)
