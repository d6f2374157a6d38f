"""`smoothdroid predict`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info import socs
from smoothdroid.device.info.socs import Soc
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.options import Json
from smoothdroid.host.common import console
from smoothdroid.host.common.suggest import closest

if TYPE_CHECKING:
    from smoothdroid.host.predict.efficiency import Fitted
    from smoothdroid.host.predict.roofline import Expected, Prediction
    from smoothdroid.host.predict.work import Work


@app.command(
    epilog="Example: smoothdroid predict llama-2-7b --soc SM8550 --soc '8 Gen 3'\n\n"
    "A file, or a checkpoint as Q4_0: smoothdroid predict out/llama2-7b-smooth-q8_0.gguf; "
    "smoothdroid predict models/llama2-7b --type q4_0"
)
def predict(
    model: Annotated[
        str, typer.Argument(help="A GGUF, a checkpoint's folder (its config.json is enough), or a name: llama-2-7b.")
    ],
    soc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOC",
            help="SM8550, 'Snapdragon 8 Gen 2'. Repeat for more SoCs. Default: all.",
            autocompletion=completion.soc_names,
        ),
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="Type of the weights, for a checkpoint or a name. Default: q8_0.",
            autocompletion=completion.tensor_types,
        ),
    ] = None,
    depth: Annotated[int, typer.Option(min=0, max=2**20, help="Tokens in the KV cache before decode.")] = 0,
    json: Json = False,
) -> None:
    """Predict a model's speed on a phone's CPU, and the ceiling that no phone with that SoC can exceed.

    The prediction is a roofline: the DRAM's bandwidth limits decode, the cores' arithmetic prefill. The interval comes
    from the share of both that llama.cpp reached in published measurements; docs/predictions.md explains it.
    """
    from smoothdroid.host.predict import roofline, work
    from smoothdroid.host.predict.efficiency import fitted

    rows = [_soc(name) for name in soc] if soc else list(socs.everything())
    asked, known = work.of(model, type_), fitted()
    found = [roofline.predict(asked, row, known, depth=depth) for row in rows]
    if json:
        facts = [{**dataclasses.asdict(one), "soc": one.soc.name, "codes": one.soc.codes} for one in found]
        console.facts({"model": dataclasses.asdict(asked), "depth": depth, "predictions": facts})
    else:
        _print_predictions(asked, depth, known, found)


def _print_predictions(asked: Work, depth: int, known: Fitted, found: Sequence[Prediction]) -> None:
    columns = ["SoC", "decode t/s", "95% interval", "ceiling", "prefill t/s", "95% interval", "ceiling"]
    console.table(
        f"{asked.name}: {asked.weights_bytes / 1e9:.3g} GB of weights for each token, at a depth of {depth}",
        columns,
        [[one.soc.name, *_expected(one.decode), *_expected(one.prefill)] for one in found],
    )
    console.step(
        f"expected, not measured: fitted on {known.decode.n} published measurements of {known.phones} phones; "
        "for a cool phone, its best number of threads, a prompt of some hundred tokens"
    )
    if any(one.decode is None for one in found):
        console.step("no decode: so small a model may fit in the CPU's caches, whose speed is not in the table")
    if any(one.prefill is None for one in found):
        console.step("no prefill: the cores of that SoC are not fully documented, or the model's matrices are unknown")


def _soc(name: str) -> Soc:
    if found := socs.named(name):
        return found
    known = {label: f"{row.codes[0]} ({row.name})" for row in socs.everything() for label in (*row.codes, row.name)}
    meant = closest(name, list(known))
    guess = f"did you mean {known[meant]}?" if meant else f"known are {', '.join(dict.fromkeys(known.values()))}"
    raise BadInput(f"unknown SoC '{name}'; {guess}")


def _expected(speed: Expected | None) -> list[str]:
    if speed is None:
        return ["-", "-", "-"]
    return [f"{speed.middle:.3g}", f"{speed.low:.3g} to {speed.high:.3g}", f"{speed.ceiling:.3g}"]
