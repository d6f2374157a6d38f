"""The command `doctor`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.text import Text

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport.resolve import FORMS
from smoothdroid.host import doctor
from smoothdroid.host.cli.command import app
from smoothdroid.host.cli.option_groups import option_groups, with_help
from smoothdroid.host.cli.options import Json, SeveralPhones
from smoothdroid.host.common import console
from smoothdroid.host.common.suggest import did_you_mean

STYLES: dict[doctor.State, str] = {"ok": "green", "warning": "yellow", "missing": "bold red"}


@app.command(
    "doctor",
    epilog="Example: smoothdroid doctor\n\n"
    "Is now a good time to measure? smoothdroid doctor --on adb:SERIAL\n\n"
    "In a script: smoothdroid doctor --for build && smoothdroid build\n\n"
    "Exit status: 0 nothing is missing, or only what is optional; 1 something is. With --for nothing is optional.",
)
@option_groups(phones=with_help(SeveralPhones, on=f"Also check this phone: {FORMS}. Repeat for more phones."))
def doctor_command(
    *,
    phones: SeveralPhones,
    command: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="COMMAND",
            help="Check only what this command needs: build, bench ...",
            autocompletion=lambda: [(name, "") for name in _commands()],
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check what this machine and phones have, what is missing, and how to fix it."""
    if command and command not in (known := _commands()):
        raise BadInput(f"--for {command}: unknown command; {did_you_mean(command, known)}")
    checks = doctor.examine(command)
    for target in phones.on or []:
        checks += doctor.examine_phone(target, phones.ssh)
    if json:
        # `mend` is the key of 0.1, for one release.
        console.facts([{**dataclasses.asdict(check), "mend": check.fix} for check in checks])
    else:
        _print(checks)
    if not doctor.are_met(checks, command):
        raise typer.Exit(1)


def _print(checks: list[doctor.Check]) -> None:
    """Print a table, and below it, in whole lines, the commands to type."""
    rows: list[list[str | Text]] = [
        [check.what, Text(check.state, STYLES[check.state]), check.found, ", ".join(check.needed_for) or "all"]
        for check in checks
    ]
    console.table("", ["what", "", "found", "for"], rows)
    for check in checks:
        if check.fix:
            optional = " (optional)" if check.optional else ""
            console.out.print(f"{check.what}{optional}: {check.fix}", soft_wrap=True)


def _commands() -> list[str]:
    """Return the names of the commands as `smoothdroid --help` lists them."""
    names = [info.name or info.callback.__name__ for info in app.registered_commands if info.callback]
    return names + [info.name for info in app.registered_groups if isinstance(info.name, str)]
