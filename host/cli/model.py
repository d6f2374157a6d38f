"""Models: `sample`, `prepare`, `inspect`, `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothdroid.device.common import system
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport.resolve import FORMS
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.host.bench.builds import build_for, extra_files, llama_cpp_source, tools_of
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import Json, LlamaCpp, ssh_options
from smoothdroid.host.common import console
from smoothdroid.host.farm.selection import reached
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.model.provenance.inspect import inspect as inspect_gguf
from smoothdroid.host.model.provenance.inspect import lines
from smoothdroid.host.model.provenance.manifest import Manifest

if TYPE_CHECKING:
    from smoothdroid.host.model.evaluate.perplexity import InferenceKernels


def need_torch() -> None:
    """Raise BadInput where torch or transformers is not installed; they are looked for and not imported."""
    for package in ("torch", "transformers"):
        try:
            spec = find_spec(package)
        except ImportError:
            spec = None
        if not spec:
            raise BadInput(f"preparing a model needs {package}: {system.this().fix('torch')}")


@app.command(epilog="Example: smoothdroid sample models/SmolLM2-135M-Instruct")
def sample(
    output: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("models/SmolLM2-135M-Instruct"),
) -> None:
    """Make a small trained checkpoint to try things on (SmolLM2-135M-Instruct, Apache-2.0)."""
    need_torch()
    from smoothdroid.host.model.checkpoint.sample import make_sample

    console.out.print(str(make_sample(output, on_step=console.step)), soft_wrap=True)


@app.command(
    epilog="Example: smoothdroid prepare models/llama2-7b -o out --alpha 0.5 --n-samples 16, or: "
    "smoothdroid prepare models/llama2-7b -o out --alpha auto --kernel kleidiai --folds norm,up-down,v-o,rotate"
)
def prepare(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder: config.json, *.safetensors, tokenizer.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the GGUF files.")],
    alpha: Annotated[
        str,
        typer.Option(
            help="How much of the outliers moves into the weights: 0 to 1, one for each fold (norm=0.5,up-down=0.3), "
            "or auto, which measures fold by fold on the kernel's arithmetic."
        ),
    ] = "0.5",
    folds: Annotated[
        str | None,
        typer.Option(help="Some of norm, up-down, v-o, rotate. Default: norm; with --alpha auto all but rotate."),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            help="Whose arithmetic --alpha auto measures on: ggml, or kleidiai.", autocompletion=completion.kernels
        ),
    ] = "ggml",
    types: Annotated[
        str, typer.Option("--type", help="Some of q8_0, q4_0, f16, f32: a file each.", autocompletion=completion.types)
    ] = "q8_0",
    plain: Annotated[
        bool | None,
        typer.Option(
            help="Only the unsmoothed GGUF, of any architecture that llama.cpp converts; --no-plain: only the "
            "smoothed one. Default: both, to compare."
        ),
    ] = None,
    untie: Annotated[
        bool, typer.Option(help="Let rotate give a head that is tied to the embedding a tensor of its own.")
    ] = False,
    n_samples: Annotated[int, typer.Option(help="Windows of calibration text.")] = 16,
    seq_len: Annotated[int, typer.Option(help="Tokens in a window.")] = 512,
    calib: Annotated[Path | None, typer.Option(help="Calibration text. Default: Python's own documentation.")] = None,
    save_hf: Annotated[
        Path | None, typer.Option(help="Also save the smoothed checkpoint here, for transformers.")
    ] = None,
    device: Annotated[str, typer.Option(help="What calibrates: auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the choice of windows, and of the rotation.")] = 0,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Apply SmoothQuant to a checkpoint and write it as a GGUF, layer by layer, in little memory."""
    need_torch()
    from smoothdroid.host.model.prepare import prepare as prepare_model
    from smoothdroid.host.model.prepare_settings import PrepareSettings, parse_types
    from smoothdroid.host.report.plots import alpha as alpha_plot

    settings = PrepareSettings(
        types=parse_types(types),
        smooth=plain is not True,
        plain=plain is not False,
        alpha=alpha,
        folds=folds,
        kernel=kernel,
        untie=untie,
        n_samples=n_samples,
        seq_len=seq_len,
        calib=calib,
        seed=seed,
        device=device,
    )
    origin = source.unpacked(llama_cpp_source(llama_cpp))
    built = compiler.find([variants.find("host", "native")], origin)
    if built is None:
        console.step("llama.cpp is not built for this machine, so no file is loaded (`smoothdroid build --abi host`)")
    with console.bar() as bar:
        prepared = prepare_model(
            model,
            output,
            settings,
            llama_cpp=origin.folder,
            llama_cpp_id=origin.id,
            llama_bench=built.tool("llama-bench") if built else None,
            save_hf=save_hf,
            on_step=console.step,
            on_progress=bar.update,
        )
    pictures = [alpha_plot.write(made.manifest, made.path) for made in prepared if _was_searched(made.manifest)]
    if json:
        console.facts([{"path": str(made.path), **made.manifest.model_dump(mode="json")} for made in prepared])
        return
    for made in prepared:
        again = " (was there)" if made.reused else ""
        console.out.print(f"{made.path}  {made.size_bytes / 1e6:.0f} MB{again}", soft_wrap=True)
    for picture in pictures:
        console.out.print(str(picture), soft_wrap=True)


def _was_searched(manifest: Manifest) -> bool:
    return bool(manifest.outcome and manifest.outcome.held_out and manifest.outcome.alphas)


@app.command(epilog="Example: smoothdroid inspect out/llama2-7b-smooth-q8_0.gguf")
def inspect(
    gguf: Annotated[Path, typer.Argument(help="A GGUF file.")],
    json: Json = False,
) -> None:
    """Tell what a GGUF is and how it was made: source, folds, strengths, proof. It is read from the file itself."""
    found = inspect_gguf(gguf)
    if json:
        console.facts(found.model_dump(mode="json"))
        return
    labelled = lines(found)
    width = max(len(what) for what, _ in labelled)
    for what, value in labelled:
        console.out.print(f"{what:{width}}  {value}", soft_wrap=True)


@app.command(
    epilog="Example: smoothdroid evaluate out/llama2-7b-f32.gguf out/llama2-7b/*-{plain,smooth}-q8_0.gguf -o quality/"
)
@option_groups(ssh=ssh_options)
def evaluate(
    reference: Annotated[Path, typer.Argument(help="The GGUF to measure the distance from: f32, f16 or bf16.")],
    candidates: Annotated[list[Path], typer.Argument(help="GGUF files; those after the first are compared with it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for figures and plot.")] = Path("quality"),
    text: Annotated[
        Path | None, typer.Option(help="What is predicted. Default: prose that calibration does not draw from.")
    ] = None,
    context: Annotated[int, typer.Option(help="Tokens in a window; the second half of each is predicted.")] = 512,
    chunks: Annotated[int, typer.Option(help="Windows of text.")] = 16,
    kernel: Annotated[
        str | None,
        typer.Option(
            help="ggml or kleidiai: emulate its arithmetic, instead of running llama.cpp.",
            autocompletion=completion.kernels,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="TARGET",
            help=f"Run the candidates there: {FORMS}. Default: here.",
            autocompletion=completion.targets,
        ),
    ] = None,
    isa: Annotated[
        str | None,
        typer.Option(help="With --on: ISA level. Default: the best that was built.", autocompletion=completion.isas),
    ] = None,
    *,
    ssh: SshOptions,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Measure how far models are from a reference: KL divergence, perplexity, top-1 agreement.

    Through llama-perplexity, on this machine's kernels (`smoothdroid build --abi host`); the candidates on a phone's
    with --on, or with --kernel under an arithmetic that this machine has no kernels for. The reference's
    log-probabilities are kept in the cache: evaluating another candidate against it costs that candidate alone.
    """
    from smoothdroid.host.model.evaluate.evaluator import evaluate as compare_models
    from smoothdroid.host.model.evaluate.perplexity import HostKernels
    from smoothdroid.host.model.evaluate.record import write_evaluation
    from smoothdroid.host.model.texts.prose import evaluation_prose
    from smoothdroid.host.report.data.quality import Quality, as_facts
    from smoothdroid.host.report.render.evaluation_files import write_evaluation_files
    from smoothdroid.host.report.tables import quality as quality_tables

    if kernel and on:
        raise BadInput("--kernel emulates kernels on this machine, and --on runs a phone's: give one of them.")
    if isa and not on:
        raise BadInput("--isa names a build for a phone: say which phone with --on.")
    prose, origin = evaluation_prose(text), llama_cpp_source(llama_cpp)
    built = compiler.find([variants.find("host", "native")], origin)
    if built is None:
        raise BadInput("llama.cpp has not been built for this machine: `smoothdroid build --abi host`")
    tool, sha256 = tools_of(built)["llama-perplexity"]
    here = HostKernels(f"{built.manifest.abi}-{built.manifest.isa}, llama.cpp {built.manifest.commit}", sha256, tool)
    with console.bar() as bar, _other_kernels(kernel, on, isa, ssh, origin, bar) as kernels:
        inspected = [artifact.inspect(path, on_step=console.step) for path in (reference, *candidates)]
        found = compare_models(
            inspected[0],
            inspected[1:],
            prose,
            kernels or here,
            reference_kernels=here if kernels else None,
            logits_cache=cache_root() / "logits",
            context=context,
            windows=chunks,
            on_step=console.step,
            on_progress=bar.update,
        )
    quality = Quality(found)
    written = [write_evaluation(found, output), *write_evaluation_files(quality, output)]
    if json:
        console.facts(as_facts(quality))
        return
    console.show(quality_tables.terminal(quality))
    for verdict in quality.verdicts:
        console.out.print(verdict, soft_wrap=True)
    for path in written:
        console.out.print(str(path), soft_wrap=True)


@contextmanager
def _other_kernels(
    kernel: str | None, on: str | None, isa: str | None, ssh: SshOptions, origin: source.Source, bar: console.Bar
) -> Iterator[InferenceKernels | None]:
    """Yield the kernels that compute the candidates, or None for this machine's llama-perplexity."""
    if kernel:
        need_torch()
        from smoothdroid.host.model.arithmetic import arithmetic_of
        from smoothdroid.host.model.evaluate.emulated_kernels import EmulatedKernels

        yield EmulatedKernels(arithmetic_of(kernel))
    elif on:
        from smoothdroid.host.model.evaluate.phone_kernels import PhoneKernels

        with reached(on, ssh) as (target, phone):
            built = build_for(target, phone, isa, origin)
            manifest, tools = built.manifest, tools_of(built)
            if "llama-perplexity" not in tools:
                raise BadInput(
                    "this llama.cpp was built without llama-perplexity: "
                    f"`smoothdroid build --abi {manifest.abi} --isa {manifest.isa}`"
                )
            (tool, sha256), emulated = tools["llama-perplexity"], " (emulated)" if phone.emulated else ""
            name = f"{phone.model}{emulated}, {manifest.abi}-{manifest.isa}, llama.cpp {manifest.commit}"
            yield PhoneKernels(
                name,
                manifest.id if manifest.libraries else sha256,
                tool,
                target,
                lambda done, total: bar.update("moving MiB", done >> 20, total >> 20),
                extra_files(built),
            )
    else:
        yield None
