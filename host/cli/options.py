"""Options that several commands have, and the groups of them that always come together."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
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
from smoothdroid.host.farm.selection import reached
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.llamacpp.settings import SETTINGS, Setting
from smoothdroid.host.llamacpp.source import Source

MOST_SHOWN = 3
"""Choices that --help lists in the place of a value."""

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
LlamaCpp = Annotated[Path | None, typer.Option(help="A llama.cpp checkout of your own instead of the pinned source.")]


SSH_PANEL = "Options for ssh:// targets"


@dataclass(frozen=True)
class _Ssh:
    ssh_key: Annotated[
        Path | None,
        typer.Option(help="Private key. Default: the agent's keys and ~/.ssh.", rich_help_panel=SSH_PANEL),
    ] = None
    known_hosts: Annotated[
        Path | None, typer.Option(help="Known hosts file. Default: ~/.ssh/known_hosts.", rich_help_panel=SSH_PANEL)
    ] = None
    accept_host_key: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256:...",
            help="Trust a host that shows exactly this fingerprint.",
            rich_help_panel=SSH_PANEL,
        ),
    ] = None

    @property
    def ssh(self) -> SshOptions:
        """The options for logging in to ssh:// targets."""
        return SshOptions(self.ssh_key, self.known_hosts, self.accept_host_key)


@dataclass(frozen=True)
class OnePhone(_Ssh):
    """The options that select one phone; an option group."""

    on: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help=f"{FORMS}. Default: the one phone attached.",
            autocompletion=completion.targets,
        ),
    ] = None

    def reached(self) -> AbstractContextManager[tuple[Target, Phone]]:
        """Connect to the phone; yield the connection and the phone's description."""
        return reached(self.on, self.ssh)


@dataclass(frozen=True)
class SeveralPhones(_Ssh):
    """The options that select phones; an option group."""

    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET",
            help=f"{FORMS}. Repeat for more phones; all: every phone attached. Default: the one phone attached.",
            autocompletion=completion.targets,
        ),
    ] = None


@dataclass(frozen=True)
class FarmPhones(SeveralPhones):
    """The options that select phones, which may be those of a lab's inventory; an option group."""

    farm: Annotated[str | None, typer.Option(metavar="FARM.TOML", help="A lab's inventory of phones.")] = None


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
