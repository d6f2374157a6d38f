"""Options that several commands have, and the groups of them that always come together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.transport.resolve import FORMS
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.host.cli import completion

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
On = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="TARGET", help=f"{FORMS}. Default: the one phone attached.", autocompletion=completion.targets
    ),
]
Isa = Annotated[
    str | None,
    typer.Option(help="ISA level. Default: the best that was built and runs there.", autocompletion=completion.isas),
]
LlamaCpp = Annotated[Path | None, typer.Option(help="A llama.cpp checkout of your own instead of the pinned source.")]


def ssh_options(
    ssh_key: Annotated[
        Path | None, typer.Option(help="Private key for an ssh:// target. Default: the agent's keys and ~/.ssh.")
    ] = None,
    known_hosts: Annotated[
        Path | None, typer.Option(help="Known hosts file for an ssh:// target. Default: ~/.ssh/known_hosts.")
    ] = None,
    accept_host_key: Annotated[
        str | None,
        typer.Option(metavar="SHA256:...", help="Trust an ssh:// target that shows exactly this fingerprint."),
    ] = None,
) -> SshOptions:
    """Return the SSH options of a command line; an option group."""
    return SshOptions(ssh_key, known_hosts, accept_host_key)
