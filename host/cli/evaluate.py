"""`smoothdroid evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.resolve import FORMS
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import build_for, build_for_this_machine, extra_files, llama_cpp_source, tools_of
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.option_groups import option_groups, with_help
from smoothdroid.host.cli.options import Json, LlamaCpp, OnePhone
from smoothdroid.host.common import console
from smoothdroid.host.common.optional_packages import need_torch
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.llamacpp.source import Source

if TYPE_CHECKING:
    from smoothdroid.host.model.evaluate.perplexity import HostKernels, InferenceKernels
    from smoothdroid.host.model.evaluate.phone_kernels import PhoneKernels
    from smoothdroid.host.model.evaluate.record import Evaluation


@dataclass(frozen=True)
class TaskOptions:
    """The options that say which tokens are predicted; an option group."""

    text: Annotated[
        Path | None, typer.Option(help="Text to predict. Default: prose that calibration does not draw from.")
    ] = None
    context: Annotated[int, typer.Option(help="Tokens in a window; the second half of each is predicted.")] = 512
    chunks: Annotated[int, typer.Option(help="Windows of text.")] = 16


@dataclass(frozen=True)
class KernelOptions:
    """The options that say whose kernels compute the candidates; an option group."""

    kernel: Annotated[
        str | None,
        typer.Option(
            help="ggml or kleidiai: emulate its arithmetic, instead of running llama.cpp.",
            autocompletion=completion.kernels,
        ),
    ] = None
    isa: Annotated[
        str | None,
        typer.Option(help="With --on: ISA level. Default: the best that was built.", autocompletion=completion.isas),
    ] = None

    def check(self, phone: OnePhone) -> None:
        """Raise BadInput for options that contradict each other."""
        if self.kernel and phone.on:
            raise BadInput("--kernel emulates kernels on this machine, and --on runs a phone's: give one of them.")
        if self.isa and not phone.on:
            raise BadInput("--isa names a build for a phone: say which phone with --on.")

    @contextmanager
    def opened(self, phone: OnePhone, origin: Source, bar: console.Bar) -> Iterator[InferenceKernels | None]:
        """Yield the kernels that compute the candidates, or None for this machine's llama-perplexity."""
        if self.kernel:
            need_torch()
            from smoothdroid.host.model.arithmetic import arithmetic_of
            from smoothdroid.host.model.evaluate.emulated_kernels import EmulatedKernels

            yield EmulatedKernels(arithmetic_of(self.kernel))
        elif phone.on:
            with phone.reached() as (target, described):
                yield self._phone_kernels(target, described, origin, bar)
        else:
            yield None

    def _phone_kernels(self, target: Target, phone: Phone, origin: Source, bar: console.Bar) -> PhoneKernels:
        from smoothdroid.host.model.evaluate.phone_kernels import PhoneKernels

        built = build_for(target, phone, self.isa, origin)
        tools, manifest = tools_of(built), built.manifest
        if "llama-perplexity" not in tools:
            raise BadInput(
                "this llama.cpp was built without llama-perplexity: "
                f"`smoothdroid build --abi {manifest.abi} --isa {manifest.isa}`"
            )
        tool, sha256 = tools["llama-perplexity"]
        return PhoneKernels(
            f"{phone.model}{' (emulated)' if phone.emulated else ''}, {_name(built)}",
            manifest.id if manifest.libraries else sha256,
            tool,
            target,
            lambda done, total: bar.update("moving MiB", done >> 20, total >> 20),
            extra_files(built),
        )


def _kernels_here(origin: Source) -> HostKernels:
    """Return the kernels of this machine's llama-perplexity. Raises BadInput where it has not been built."""
    from smoothdroid.host.model.evaluate.perplexity import HostKernels

    built = build_for_this_machine(origin)
    if built is None:
        raise BadInput("llama.cpp has not been built for this machine: `smoothdroid build --abi host`")
    tool, sha256 = tools_of(built)["llama-perplexity"]
    return HostKernels(_name(built), sha256, tool)


def _name(built: Build) -> str:
    return f"{built.manifest.abi}-{built.manifest.isa}, llama.cpp {built.manifest.commit}"


@app.command(
    epilog="Example: smoothdroid evaluate out/llama2-7b-f32.gguf out/llama2-7b/*-{plain,smooth}-q8_0.gguf -o quality/"
)
@option_groups(
    task=TaskOptions,
    candidate_kernels=KernelOptions,
    phone=with_help(OnePhone, on=f"Run the candidates on this phone: {FORMS}. Default: on this machine."),
)
def evaluate(
    reference: Annotated[Path, typer.Argument(help="The GGUF to measure the distance from: f32, f16 or bf16.")],
    candidates: Annotated[list[Path], typer.Argument(help="GGUF files; those after the first are compared with it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for figures and plot.")] = Path("quality"),
    *,
    task: TaskOptions,
    candidate_kernels: KernelOptions,
    lora: Annotated[
        list[Path] | None,
        typer.Option(help="Run the candidate that this adapter was made for with it; can be repeated."),
    ] = None,
    phone: OnePhone,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Measure how far models are from a reference: KL divergence, perplexity, top-1 agreement.

    llama-perplexity predicts on this machine (`smoothdroid build --abi host`). With --on it runs the candidates on a
    phone; --kernel emulates an arithmetic that this machine has no kernels for. The reference's log-probabilities are
    cached: evaluating another candidate costs only that candidate.
    """
    from smoothdroid.host.model.evaluate.adapters import run_with, with_adapters
    from smoothdroid.host.model.evaluate.evaluator import evaluate as compare_models
    from smoothdroid.host.model.texts.prose import evaluation_prose

    candidate_kernels.check(phone)
    prose, origin = evaluation_prose(task.text), llama_cpp_source(llama_cpp)
    here = _kernels_here(origin)
    with console.bar() as bar, candidate_kernels.opened(phone, origin, bar) as kernels:
        first, *rest = [artifact.inspect(path, on_step=console.step) for path in (reference, *candidates)]
        models, adapters = with_adapters(rest, lora or [])
        found = compare_models(
            first,
            models,
            prose,
            run_with(kernels or here, adapters),
            reference_kernels=here if kernels or first.path in adapters else None,
            logits_cache=cache_root() / "logits",
            context=task.context,
            windows=task.chunks,
            on_step=console.step,
            on_progress=bar.update,
        )
    _write_and_print(found, output, json=json)


def _write_and_print(found: Evaluation, output: Path, *, json: bool) -> None:
    from smoothdroid.host.model.evaluate.record import write_evaluation
    from smoothdroid.host.report.data.quality import Quality, as_facts
    from smoothdroid.host.report.render.evaluation_files import write_evaluation_files
    from smoothdroid.host.report.tables import quality as quality_tables

    quality = Quality(found)
    written = [write_evaluation(found, output), *write_evaluation_files(quality, output)]
    if json:
        console.facts(as_facts(quality))
        return
    console.show(quality_tables.terminal(quality))
    for line in [*quality.verdicts, *map(str, written)]:
        console.out.print(line, soft_wrap=True)
