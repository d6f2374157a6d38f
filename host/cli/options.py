"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.transport.resolve import FORMS
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
SshKey = Annotated[Path | None, typer.Option(help="Private key for an ssh:// target. Default: agent and ~/.ssh.")]
KnownHosts = Annotated[Path | None, typer.Option(help="Instead of ~/.ssh/known_hosts.")]
AcceptHostKey = Annotated[
    str | None, typer.Option(metavar="SHA256:...", help="Trust an ssh:// target that shows exactly this fingerprint.")
]

LlamaCpp = Annotated[Path | None, typer.Option(help="A llama.cpp checkout of your own instead of the pinned source.")]
