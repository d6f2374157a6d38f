"""The command `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.host.bench.builds import extra_files, tools_of
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import BuildOptions, Json, OnePhone
from smoothdroid.host.common import console
from smoothdroid.host.gguf import artifact
from smoothdroid.host.model.provenance.adapter_manifest import require_base
from smoothdroid.host.run import prompt


@app.command(
    epilog='Example: smoothdroid run out/llama2-7b/*-smooth-q8_0.gguf --on ssh://user@phone:8022 -p "안녕하세요!"'
)
@option_groups(phone=OnePhone, build=BuildOptions)
def run(
    model: Annotated[Path, typer.Argument(help="A GGUF file.")],
    text: Annotated[str, typer.Option("-p", "--prompt", help="The prompt.")],
    *,
    lora: Annotated[
        Path | None, typer.Option(help="An adapter that `smoothdroid adapter` made for this very file.")
    ] = None,
    phone: OnePhone,
    threads: Annotated[int, typer.Option(min=1, help="Threads on the phone.")] = 4,
    max_tokens: Annotated[int, typer.Option("-n", "--max-tokens", min=1, help="Longest answer, in tokens.")] = 128,
    temp: Annotated[float, typer.Option(min=0, help="Sampling temperature; 0: always the most likely token.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    raw: Annotated[bool, typer.Option(help="Continue the text without the chat template.")] = False,
    build: BuildOptions,
    json: Json = False,
) -> None:
    """Run one prompt on a phone; print the answer on stdout as it comes, and its speed on stderr."""
    inspected = artifact.inspect(model, on_step=console.step)
    if lora:
        require_base(lora, inspected.path, inspected.sha256)  # before a phone is looked for
    with phone.reached() as (target, described):
        built = build.build_for(target, described)
        with console.bar() as bar:
            deployed = prompt.deploy(
                target,
                tools_of(built)["llama-completion"],
                inspected,
                adapter=lora,
                extra_files=extra_files(built),
                on_step=console.step,
                on_push=lambda done, total: bar.update("sending MiB", done >> 20, total >> 20),
            )
        sampling = prompt.Sampling(threads, max_tokens, temp, seed, raw)
        answer = prompt.ask(target, deployed, text, sampling, on_output=None if json else console.stream)
    if json:
        console.facts({"text": answer.text, "timings": answer.timings.model_dump() if answer.timings else None})
        return
    console.out.print()
    if timings := answer.timings:
        emulated = ", emulated: not a real speed" if described.emulated else ""
        console.step(
            f"prefill {timings.prompt_tps} tokens/s ({timings.prompt_tokens} tokens), decode {timings.generated_tps} "
            f"tokens/s ({timings.generated_tokens} tokens){emulated}"
        )
    else:
        console.step("the answer is too short to time")
