"""Phones on many machines: `farm scheduler`, `farm worker`."""

from __future__ import annotations

import platform
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.transport.resolve import FORMS, no_phone, open_target
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import farm_app
from smoothdroid.host.cli.extras import need_dask
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import ssh_options
from smoothdroid.host.cli.phone_selection import all_attached, fit_for_work
from smoothdroid.host.common import console
from smoothdroid.host.farm.coordinator import Member


@farm_app.command(
    "scheduler",
    epilog="Example: smoothdroid farm scheduler tcp://10.0.0.1:8786\n\n"
    "Where others are too: smoothdroid farm scheduler tls://10.0.0.1:8786, with certificates in Dask's configuration",
)
def farm_scheduler(
    listen: Annotated[str, typer.Argument(help="Where to listen.")] = "tcp://127.0.0.1:8786",
) -> None:
    """What lab machines and controllers meet at; until Ctrl-C."""
    need_dask()
    from smoothdroid.host.farm import lab

    lab.schedule(listen, console.step)


@farm_app.command("worker", epilog="Example: smoothdroid farm worker tcp://127.0.0.1:8786 --farm farm.toml --name desk")
@option_groups(ssh=ssh_options)
def farm_worker(
    scheduler: Annotated[str, typer.Argument(help="tcp://HOST:8786 or tls://HOST:8786.")],
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="TARGET",
            help=f"{FORMS}; repeatable. Default: all attached.",
            autocompletion=completion.targets,
        ),
    ] = None,
    farm: Annotated[Path | None, typer.Option(metavar="FARM.TOML", help="The phones of an inventory.")] = None,
    name: Annotated[str, typer.Option(help="Of this machine, before the phones' names.")] = platform.node(),
    *,
    ssh: SshOptions,
) -> None:
    """Lend this machine's phones to a scheduler; until Ctrl-C, which stops nothing that a phone measures."""
    need_dask()
    from smoothdroid.host.farm import lab

    if farm:
        members, _ = fit_for_work(farm, on or [], ssh)
    else:
        members = [Member(way, way, partial(open_target, way, ssh)) for way in dict.fromkeys(on or all_attached())]
    if not members:
        raise no_phone()
    lab.work(scheduler, name, members, console.step)
