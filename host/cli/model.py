"""The commands for models: `sample`, `prepare`, `inspect`, `adapter`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothdroid.host.bench.builds import build_for_this_machine, llama_cpp_source
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import Json, LlamaCpp
from smoothdroid.host.common import console
from smoothdroid.host.common.optional_packages import need_torch
from smoothdroid.host.llamacpp import source
from smoothdroid.host.model.provenance.inspect import inspect as inspect_gguf
from smoothdroid.host.model.provenance.inspect import lines
from smoothdroid.host.model.provenance.manifest import Manifest

if TYPE_CHECKING:
    from smoothdroid.host.model.prepare import Prepared
    from smoothdroid.host.model.prepare_settings import PrepareSettings


@app.command(epilog="Example: smoothdroid sample models/SmolLM2-135M-Instruct")
def sample(
    output: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("models/SmolLM2-135M-Instruct"),
) -> None:
    """Make a small trained checkpoint to try things on (SmolLM2-135M-Instruct, Apache-2.0)."""
    need_torch()
    from smoothdroid.host.model.checkpoint.sample import make_sample

    console.out.print(str(make_sample(output, on_step=console.step)), soft_wrap=True)


@dataclass(frozen=True)
class PrepareOptions:
    """The options that say how a model is prepared; an option group."""

    alpha: Annotated[
        str,
        typer.Option(
            help="How much of the outliers moves into the weights: 0 to 1, one for each fold (norm=0.5,up-down=0.3), "
            "or auto, which measures fold by fold on the kernel's arithmetic."
        ),
    ] = "0.5"
    folds: Annotated[
        str | None,
        typer.Option(help="Some of norm, up-down, v-o, rotate. Default: norm; with --alpha auto all but rotate."),
    ] = None
    kernel: Annotated[
        str,
        typer.Option(
            help="Kernels whose arithmetic --alpha auto measures on: ggml or kleidiai.",
            autocompletion=completion.kernels,
        ),
    ] = "ggml"
    types: Annotated[
        str,
        typer.Option(
            "--type",
            help="Some of q8_0, q4_0, q4_1, iq4_nl, q4_k_m, q5_k_m, q6_k, f16, bf16, f32: a file each.",
            autocompletion=completion.types,
        ),
    ] = "q8_0"
    head: Annotated[
        str | None,
        typer.Option(
            help="Type of the head: q8_0, f16, q6_k; or tied, which keeps it the embedding. Default: llama-quantize's.",
            autocompletion=completion.heads,
        ),
    ] = None
    imatrix: Annotated[
        Path | None,
        typer.Option(
            help="Importance matrix to round by, in llama.cpp's format; measured on the calibration text and written "
            "where the file does not exist."
        ),
    ] = None
    plain: Annotated[
        bool | None,
        typer.Option(
            help="Only the unsmoothed GGUF, of any architecture that llama.cpp converts; --no-plain: only the "
            "smoothed one. Default: both, to compare."
        ),
    ] = None
    untie: Annotated[
        bool, typer.Option(help="Let rotate give a head that is tied to the embedding a tensor of its own.")
    ] = False
    n_samples: Annotated[int, typer.Option(help="Windows of calibration text.")] = 16
    seq_len: Annotated[int, typer.Option(help="Tokens in a window.")] = 512
    calib: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:FIELD]",
            help="Calibration text: text, JSONL or Parquet (field: messages). May be repeated. "
            "Default: English, Korean, code and chat.",
        ),
    ] = None
    chat: Annotated[
        bool, typer.Option("--chat", help="Apply the checkpoint's chat template to the conversations in --calib.")
    ] = False
    device: Annotated[str, typer.Option(help="Device to calibrate on: auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, typer.Option(help="Seed of the choice of windows, and of the rotation.")] = 0

    def settings(self) -> PrepareSettings:
        """Return the settings of the preparation. Raises BadInput for an unknown type."""
        from smoothdroid.host.model.prepare_settings import PrepareSettings, parse_types

        return PrepareSettings(
            types=parse_types(self.types),
            head=self.head,
            imatrix=self.imatrix,
            smooth=self.plain is not True,
            plain=self.plain is not False,
            alpha=self.alpha,
            folds=self.folds,
            kernel=self.kernel,
            untie=self.untie,
            n_samples=self.n_samples,
            seq_len=self.seq_len,
            calib=self.calib or (),
            chat=self.chat,
            seed=self.seed,
            device=self.device,
        )


@app.command(
    epilog="Example: smoothdroid prepare models/llama2-7b -o out --alpha 0.5 --n-samples 16, or: "
    "smoothdroid prepare models/llama2-7b -o out --alpha auto --kernel kleidiai --folds norm,up-down,v-o,rotate"
)
@option_groups(options=PrepareOptions)
def prepare(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder: config.json, *.safetensors, tokenizer.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the GGUF files.")],
    *,
    options: PrepareOptions,
    save_hf: Annotated[
        Path | None, typer.Option(help="Also save the smoothed checkpoint here, for transformers.")
    ] = None,
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Apply SmoothQuant to a checkpoint and write it as a GGUF, layer by layer, in little memory."""
    need_torch()
    from smoothdroid.host.model.prepare import prepare as prepare_model

    settings = options.settings()
    origin = source.unpacked(llama_cpp_source(llama_cpp))
    built = build_for_this_machine(origin)
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
            llama_quantize=built.tool("llama-quantize") if built else None,
            save_hf=save_hf,
            on_step=console.step,
            on_progress=bar.update,
        )
    _print_prepared(prepared, json=json)


def _print_prepared(prepared: Sequence[Prepared], *, json: bool) -> None:
    """Print the files that were made, and draw and print the plots of their searched alphas."""
    from smoothdroid.host.report.plots import alpha as alpha_plot

    pictures = [alpha_plot.write(made.manifest, made.path) for made in prepared if _was_searched(made.manifest)]
    if json:
        console.facts([{"path": str(made.path), **made.manifest.model_dump(mode="json")} for made in prepared])
        return
    for made in prepared:
        reused = " (existed already)" if made.reused else ""
        console.out.print(f"{made.path}  {made.size_bytes / 1e6:.0f} MB{reused}", soft_wrap=True)
    for picture in pictures:
        console.out.print(str(picture), soft_wrap=True)


def _was_searched(manifest: Manifest) -> bool:
    return bool(manifest.outcome and manifest.outcome.held_out and manifest.outcome.alphas)


@app.command(epilog="Example: smoothdroid inspect out/llama2-7b-smooth-q8_0.gguf")
def inspect(
    gguf: Annotated[Path, typer.Argument(help="A GGUF file.")],
    json: Json = False,
) -> None:
    """Show what a GGUF file is and how it was made: source, folds, alphas, proof. All is read from the file itself."""
    found = inspect_gguf(gguf)
    if json:
        console.facts(found.model_dump(mode="json"))
        return
    labelled = lines(found)
    width = max(len(what) for what, _ in labelled)
    for what, value in labelled:
        console.out.print(f"{what:{width}}  {value}", soft_wrap=True)


@app.command(
    epilog="Example: smoothdroid adapter my-adapter --base out/llama2-7b-smooth-q8_0.gguf -o out/my-adapter.gguf"
)
def adapter(
    folder: Annotated[
        Path,
        typer.Argument(metavar="PEFT_DIR", help="PEFT's folder: adapter_config.json and adapter_model.safetensors."),
    ],
    base: Annotated[Path, typer.Option("--base", help="The GGUF that `smoothdroid prepare` made of the base.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The adapter's GGUF.")],
    llama_cpp: LlamaCpp = None,
    json: Json = False,
) -> None:
    """Make a LoRA adapter for a smoothed model: changed as the model was, proven, and bound to that file.

    An adapter that was trained on the original model gives garbage on the smoothed one. This one gives what it gave on
    the original: `smoothdroid run GGUF --lora ADAPTER`.
    """
    need_torch()
    from smoothdroid.host.model.adapter.make_adapter import make_adapter

    origin = source.unpacked(llama_cpp_source(llama_cpp))
    made = make_adapter(folder, base, output, llama_cpp=origin.folder, llama_cpp_id=origin.id, on_step=console.step)
    if json:
        console.facts({"path": str(made.path), **made.manifest.model_dump(mode="json")})
        return
    proof = made.manifest.equivalence
    console.step(
        f"{proof.computed_in} logits differ by at most {proof.max_abs_logit_difference:.2g} of a range of "
        f"{proof.logit_range:.3g}, on {proof.n_tokens} tokens"
    )
    console.out.print(f"{made.path}  {made.manifest.size_bytes / 1e6:.1f} MB", soft_wrap=True)
