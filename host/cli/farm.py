"""Phones on many machines: `farm scheduler`, `farm worker`."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.transport.resolve import FORMS
from smoothdroid.host.cli.command import farm_app
from smoothdroid.host.cli.option_groups import option_groups, with_help
from smoothdroid.host.cli.options import FarmPhones
from smoothdroid.host.common import console
from smoothdroid.host.common.optional_packages import need_dask
from smoothdroid.host.farm.selection import fit_for_work, members_of, targets_of


@farm_app.command(
    "scheduler",
    epilog="Example: smoothdroid farm scheduler tcp://10.0.0.1:8786\n\n"
    "On an open network: smoothdroid farm scheduler tls://10.0.0.1:8786, with certificates in Dask's configuration",
)
def farm_scheduler(
    listen: Annotated[str, typer.Argument(help="Address to listen at.")] = "tcp://127.0.0.1:8786",
) -> None:
    """Run the scheduler that lab machines and benchmarks connect to, until Ctrl-C."""
    need_dask()
    from smoothdroid.host.farm import lab

    lab.schedule(listen, console.step)


@farm_app.command("worker", epilog="Example: smoothdroid farm worker tcp://127.0.0.1:8786 --farm farm.toml --name desk")
@option_groups(phones=with_help(FarmPhones, on=f"{FORMS}. Repeat for more phones. Default: every phone attached."))
def farm_worker(
    scheduler: Annotated[str, typer.Argument(help="tcp://HOST:8786 or tls://HOST:8786.")],
    *,
    phones: FarmPhones,
    name: Annotated[str, typer.Option(help="Name of this machine, put before its phones' names.")] = platform.node(),
) -> None:
    """Lend this machine's phones to a scheduler until Ctrl-C, which stops no measurement on a phone."""
    need_dask()
    from smoothdroid.host.farm import lab

    if phones.farm:
        members, _ = fit_for_work(Path(phones.farm), phones.on or [], phones.ssh, console.warning)
    else:
        members = members_of(targets_of(phones.on or ["all"], console.warning), phones.ssh)
    lab.work(scheduler, name, members, console.step)
