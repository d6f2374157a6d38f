"""Options that several commands have, and the groups of them that always come together."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.resolve import FORMS
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import build_for, llama_cpp_source
from smoothdroid.host.cli import completion
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.llamacpp.settings import SETTINGS, Setting
from smoothdroid.host.llamacpp.source import Source

MOST_SHOWN = 3
"""Choices that --help lists in the place of a value."""

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
On = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="TARGET", help=f"{FORMS}. Default: the one phone attached.", autocompletion=completion.targets
    ),
]
Several = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="TARGET",
        help=f"{FORMS}. Repeat for more phones; all: every phone attached. Default: the one phone attached.",
        autocompletion=completion.targets,
    ),
]
SeveralOrAll = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="TARGET",
        help=f"{FORMS}. Repeat for more phones. Default: every phone attached.",
        autocompletion=completion.targets,
    ),
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


def setting_options(**texts: str | None) -> dict[str, str]:
    """Return the llama.cpp settings of a command line, name and text, without those left out; an option group."""
    return {name: text for name, text in texts.items() if text is not None}


def _option(setting: Setting) -> inspect.Parameter:
    few = ",".join(setting.choices) if len(setting.choices) <= MOST_SHOWN else "TYPES"
    option = typer.Option(setting.flag, setting.option, metavar=few or "NUMBERS", help=setting.help)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(setting.name, kind, default=None, annotation=Annotated[str | None, option])


setting_options.__signature__ = inspect.Signature(list(map(_option, SETTINGS)))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class BuildOptions:
    """The options that choose a phone's build of llama.cpp; an option group."""

    isa: Annotated[
        str | None,
        typer.Option(help="ISA level. Default: the best one that is built and runs.", autocompletion=completion.isas),
    ] = None
    llama_cpp: LlamaCpp = None

    def source(self) -> Source:
        """Return the llama.cpp source that builds are made from."""
        return llama_cpp_source(self.llama_cpp)

    def build_for(self, target: Target, phone: Phone) -> Build:
        """Return the build that a phone gets. Raises BadInput, with the command that builds it, where there is none."""
        return build_for(target, phone, self.isa, self.source())
