"""Files on phones: `deploy`, `phone df`."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.info.phone import Phone
from smoothdroid.device.store import inventory
from smoothdroid.device.transport.resolve import no_phone, open_target, the_only_one
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import extra_files, tools_of
from smoothdroid.host.cli.command import app, phone_app
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import BuildOptions, Json, On, Several, ssh_options
from smoothdroid.host.common import console
from smoothdroid.host.farm.selection import reached, targets_of
from smoothdroid.host.gguf import artifact
from smoothdroid.host.run import deploy as deploying

DEPLOYED = ("llama-bench", "llama-completion")


@app.command(epilog="Example: smoothdroid deploy out/llama2-7b-smooth-q8_0.gguf --on all")
@option_groups(build=BuildOptions, ssh=ssh_options)
def deploy(
    models: Annotated[list[Path] | None, typer.Argument(help="GGUF files. Default: the programs only.")] = None,
    on: Several = None,
    *,
    build: BuildOptions,
    ssh: SshOptions,
    json: Json = False,
) -> None:
    """Put models and llama.cpp on phones, several at once. What is there is not sent again.

    A transfer that was cut off, by Ctrl-C or a cable, goes on where it stopped when the same command is given again.
    """
    open_ = partial(open_target, ssh=ssh)
    ways = targets_of(on or [the_only_one()], console.warning)
    if not ways:
        raise no_phone()
    found = [artifact.inspect(model, on_step=console.step) for model in models or []]

    def programs(target: Target, phone: Phone) -> deploying.Programs:
        built = build.build_for(target, phone)
        return deploying.Programs([tools_of(built)[tool] for tool in DEPLOYED], extra_files(built))

    with console.transfers() as shown:
        done = deploying.to_all(ways, open_, programs, found, shown)
    if json:
        console.facts(
            [
                {"target": one.way, "sent": one.sent, "took_s": one.took_s, "error": str(one.error or "") or None}
                for one in done
            ]
        )
    else:
        rows = [
            [
                one.way,
                one.phone.model if one.phone else "-",
                str(one.error) if one.error else ", ".join(one.sent) or "nothing: all was there",
                f"{one.took_s:.1f} s",
            ]
            for one in done
        ]
        console.table("", ["target", "phone", "sent", "took"], rows)
    if failed := [one.error.exit_status for one in done if one.error]:
        raise typer.Exit(max(failed))


@phone_app.command("df", epilog="Example: smoothdroid phone df --on adb:SERIAL")
@option_groups(ssh=ssh_options)
def phone_df(
    on: On = None,
    *,
    ssh: SshOptions,
    json: Json = False,
) -> None:
    """Show what smoothdroid keeps on a phone, when it was last used, and what is free."""
    with reached(on, ssh) as (target, phone):
        kept = inventory.listing(target)
    if json:
        console.facts({"free_mb": phone.free_mb, "stored": [dataclasses.asdict(one) for one in kept]})
        return
    console.table("", ["id", "name", "MiB", "last used", ""], [_stored_row(one) for one in kept])
    total = sum(one.size_bytes for one in kept) >> 20
    console.out.print(f"{total} MiB in {target.root}/store, {phone.free_mb} MiB free", soft_wrap=True)


def _stored_row(one: inventory.Stored) -> list[str]:
    days, hours = divmod(one.idle_s // 3600, 24)
    when = f"{days} days ago" if days else f"{hours} h ago" if hours else "within the hour"
    state = "at work" if one.busy else "" if one.whole else "in part: goes on at the next deploy"
    return [one.id, one.name, str(one.size_bytes >> 20), when, state]
