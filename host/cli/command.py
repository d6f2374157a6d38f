"""The command `smoothdroid` and its groups, and the message and exit status of an error."""

from __future__ import annotations

import errno
import os
import platform
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.cli import completion
from smoothdroid.host.common import console
from smoothdroid.host.llamacpp.source import PINNED_COMMIT

app = typer.Typer(
    name="smoothdroid",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SmoothQuant, Q8_0 GGUF and llama.cpp on Android phones, measured so that the numbers can be trusted.",
    epilog="For scripts: `smoothdroid -q COMMAND --json`; no colours where NO_COLOR is set.\n\n"
    "Exit status: 0 done, 1 some cells failed or are slower, 2 wrong usage or input, 3 no phone.",
)

phone_app = typer.Typer(no_args_is_help=True, help="The emulated phone: real adbd, real sshd, arm64 under qemu.")
app.add_typer(phone_app, name="phone")
farm_app = typer.Typer(no_args_is_help=True, help="Phones on many machines, through Dask (smoothdroid\\[farm]).")
app.add_typer(farm_app, name="farm")
plan_app = typer.Typer(no_args_is_help=True, help="Plan files: what `smoothdroid bench PLAN.toml` measures.")
app.add_typer(plan_app, name="plan")


def main() -> None:
    """Run the `smoothdroid` command."""
    if os.environ.get("_SMOOTHDROID_COMPLETE") == "complete_bash":
        completion.rejoin_bash_words(os.environ)
    try:
        app()
    except SmoothdroidError as error:
        console.error(str(error))
        sys.exit(error.exit_status)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = error.filename or f"perhaps that of {cache_root()}"
            console.error(f"the disk is full ({place}): make room, and run the command again")
        elif error.errno in (errno.EACCES, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EROFS) and error.filename:
            console.error(f"{error.filename}: {error.strerror}")
        else:
            raise
        sys.exit(BadInput.exit_status)


def _show_version(wanted: bool) -> None:
    if wanted:
        versions = f"llama.cpp {PINNED_COMMIT}, Python {platform.python_version()}"
        console.out.print(f"smoothdroid {version('smoothdroid')} ({versions})", soft_wrap=True, highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print versions.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            envvar="SMOOTHDROID_QUIET",
            help="Print no steps and no progress, only results, warnings and errors.",
        ),
    ] = False,
) -> None:
    console.quiet(quiet)
