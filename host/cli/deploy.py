"""The commands for files on phones: `deploy`, `phone df`."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.info.phone import Phone
from smoothdroid.device.store import inventory
from smoothdroid.device.transport.resolve import no_phone, open_target, the_only_one
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import extra_files, tools_of
from smoothdroid.host.cli.command import app, phone_app
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import BuildOptions, Json, OnePhone, SeveralPhones
from smoothdroid.host.common import console
from smoothdroid.host.farm.selection import targets_of
from smoothdroid.host.gguf import artifact
from smoothdroid.host.run import deploy as deploying

DEPLOYED = ("llama-bench", "llama-completion")


@app.command(epilog="Example: smoothdroid deploy out/llama2-7b-smooth-q8_0.gguf --on all")
@option_groups(phones=SeveralPhones, build=BuildOptions)
def deploy(
    models: Annotated[list[Path] | None, typer.Argument(help="GGUF files. Default: only the programs.")] = None,
    *,
    phones: SeveralPhones,
    build: BuildOptions,
    json: Json = False,
) -> None:
    """Copy models and llama.cpp to phones, several at once. Files that are there are not sent again.

    An interrupted transfer continues where it stopped when the same command is given again.
    """
    targets = targets_of(phones.on or [the_only_one()], console.warning)
    if not targets:
        raise no_phone()
    found = [artifact.inspect(model, on_step=console.step) for model in models or []]

    def programs(target: Target, phone: Phone) -> deploying.Programs:
        built = build.build_for(target, phone)
        return deploying.Programs([tools_of(built)[tool] for tool in DEPLOYED], extra_files(built))

    with console.transfers() as shown:
        done = deploying.to_all(targets, partial(open_target, ssh=phones.ssh), programs, found, shown)
    if json:
        console.facts([result.facts() for result in done])
    else:
        console.table("", deploying.COLUMNS, [result.cells() for result in done])
    if failed := [result.error.exit_status for result in done if result.error]:
        raise typer.Exit(max(failed))


@phone_app.command("df", epilog="Example: smoothdroid phone df --on adb:SERIAL")
@option_groups(phone=OnePhone)
def phone_df(*, phone: OnePhone, json: Json = False) -> None:
    """Show the files that smoothdroid keeps on a phone, when each was last used, and the free space."""
    with phone.reached() as (target, described):
        stored = inventory.listing(target)
    if json:
        console.facts({"free_mb": described.free_mb, "stored": [dataclasses.asdict(file) for file in stored]})
        return
    console.table("", ["id", "name", "MiB", "last used", ""], [_stored_row(file) for file in stored])
    total = sum(file.size_bytes for file in stored) >> 20
    console.out.print(f"{total} MiB in {target.root}/store, {described.free_mb} MiB free", soft_wrap=True)


def _stored_row(file: inventory.Stored) -> list[str]:
    days, hours = divmod(file.idle_s // 3600, 24)
    when = f"{days} days ago" if days else f"{hours} h ago" if hours else "within the hour"
    state = "in use" if file.busy else "" if file.whole else "incomplete: continues at the next deploy"
    return [file.id, file.name, str(file.size_bytes >> 20), when, state]
