"""The commands for phones: `devices`, and `phone start`, `stop` and `list` of the emulated phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport import adb
from smoothdroid.device.transport.resolve import FORMS, open_target, the_only_one
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.host.cli import completion
from smoothdroid.host.cli.command import app, phone_app
from smoothdroid.host.cli.option_groups import option_groups, with_help
from smoothdroid.host.cli.options import FarmPhones, Json
from smoothdroid.host.common import console
from smoothdroid.host.common.suggest import did_you_mean
from smoothdroid.host.farm import health, inventory
from smoothdroid.host.farm.selection import look_at, targets_of
from smoothdroid.host.llamacpp import variants


@app.command(
    epilog="Example: smoothdroid devices -v\n\n"
    "A lab's health: smoothdroid devices --farm farm.toml. In the file, for each phone: [phones.NAME], on, "
    "labels, models"
)
@option_groups(
    phones=with_help(
        FarmPhones,
        on=f"Show only this phone: {FORMS}. Repeat for more phones.",
        farm="A lab's phones and their health.",
    )
)
def devices(
    *,
    phones: FarmPhones,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Also show temperatures and the ISA level.")] = False,
    release: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --farm: end this phone's quarantine. Repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """List the phones that are attached, or those named, with their SoC, memory and battery."""
    if phones.farm:
        if phones.on or verbose:
            raise BadInput("--farm shows the phones of its file: leave --on and --verbose out")
        _farm_health(Path(phones.farm), release or [], phones.ssh, json=json)
        return
    if release:
        raise BadInput("--release needs --farm FARM.TOML, the inventory that lists the phone")
    found, problems = look_at(sorted(targets_of(phones.on or ["all"], console.warning)), phones.ssh, console.warning)
    _print_phones(found, verbose=verbose, json=json)
    for problem in problems:
        console.error(str(problem))
    if problems:
        raise typer.Exit(max(problem.exit_status for problem in problems))
    if not found:
        the_only_one()  # raises NoPhone and says what to do


def _print_phones(found: Mapping[str, Phone], *, verbose: bool, json: bool) -> None:
    if json:
        console.facts([{"target": name, **phone.model_dump()} for name, phone in found.items()])
    elif found:
        columns = ["target", "phone", "SoC", "Android", "CPUs", "memory", "free", "battery"]
        console.table("", columns, [[name, *_summary(phone)] for name, phone in found.items()])
        for name, phone in found.items() if verbose else ():
            _details(name, phone)


def _farm_health(farm: Path, release: Sequence[str], ssh: SshOptions, *, json: bool) -> None:
    listed = inventory.read(farm)
    ledger = health.HealthRecords(farm, listed.quarantine_after)
    opened = partial(open_target, ssh=ssh)
    for member in listed.members(opened, release) if release else []:
        ledger.release(member.name)
    found = health.look(listed.members(opened), ledger.read())
    if json:
        console.facts([one.facts() for one in found])
    else:
        console.table("", health.COLUMNS, [one.cells() for one in found])
    for one in found:
        if one.error:
            console.error(f"{one.member.name}: {one.error}")
        if one.record.quarantined:
            console.warning(f"{one.member.name} is in quarantine: {one.record.why}")
    if statuses := [one.error.exit_status for one in found if one.error and not one.record.quarantined]:
        raise typer.Exit(max(statuses))


def _summary(phone: Phone) -> list[str]:
    battery = phone.battery
    charge = "-" if battery.level_percent is None else f"{battery.level_percent} %"
    return [
        phone.model + (" (emulated)" if phone.emulated else ""),
        phone.soc,
        phone.android or "-",
        " + ".join(map(str, phone.clusters)),
        f"{phone.available_mb / 1024:.1f} of {phone.memory_mb / 1024:.1f} GiB",
        f"{phone.free_mb / 1024:.1f} GiB",
        charge + (", charging" if battery.charging else ""),
    ]


def _details(name: str, phone: Phone) -> None:
    console.out.print(f"\n{name}: {phone.model}, id {phone.id}, kernel {phone.kernel}, {phone.abi}")
    chosen = variants.explain(phone)
    console.out.print(f"  ISA level: {chosen.level.isa if chosen.level else 'none'}; {chosen.reason}", soft_wrap=True)
    for cluster in phone.clusters:
        console.out.print(f"  CPUs {', '.join(map(str, cluster.cpus))}: {cluster.name}, {cluster.max_mhz or '?'} MHz")
    for zone, celsius in phone.celsius.items():
        console.out.print(f"  {zone}: {celsius:.1f} °C")


@phone_app.command("start", epilog="Example: smoothdroid phone start desk --profile pixel-8")
def phone_start(
    name: Annotated[str, typer.Argument(help="Name of the phone; several can run at the same time.")] = "phone",
    profile: Annotated[
        str, typer.Option(help=f"{', '.join(virtual.profiles())}, or a TOML file.", autocompletion=completion.profiles)
    ] = "pixel-8",
    json: Json = False,
) -> None:
    """Start an emulated phone."""
    _print_phone(virtual.start(name, profile, on_step=console.step), json)


@phone_app.command("stop", epilog="Example: smoothdroid phone stop desk")
def phone_stop(
    name: Annotated[str, typer.Argument(help="Its name.", autocompletion=completion.emulated_phones)] = "phone",
) -> None:
    """Stop an emulated phone; only its files remain."""
    running = {phone.name: phone for phone in virtual.running()}
    if name not in running:
        raise BadInput(f"no emulated phone {name} is running; {did_you_mean(name, running)}")
    adb.disconnect(running[name].adb_address)
    virtual.stop(name)
    console.step(f"{name} stopped")


@phone_app.command("list", epilog="Example: smoothdroid phone list --json")
def phone_list(json: Json = False) -> None:
    """List the emulated phones that are running."""
    phones = virtual.running()
    if json:
        console.facts([_phone_facts(phone) for phone in phones])
    elif phones:
        rows = [[f"virtual:{p.name}", p.profile, p.adb_address, p.ssh_url] for p in phones]
        console.table("", ["target", "profile", "adb", "ssh"], rows)
    else:
        console.out.print("no emulated phone is running; `smoothdroid phone start` starts one")


def _phone_facts(phone: virtual.VirtualPhone) -> dict[str, Any]:
    return {
        "target": f"virtual:{phone.name}",
        "profile": phone.profile,
        "adb": phone.adb_address,
        "ssh": phone.ssh_url,
        "ssh_key": str(phone.ssh_key),
        "known_hosts": str(phone.known_hosts),
    }


def _print_phone(phone: virtual.VirtualPhone, json: bool) -> None:
    known = _phone_facts(phone)
    if json:
        console.facts(known)
        return
    console.out.print(f"--on virtual:{phone.name}  (adb {phone.adb_address})", soft_wrap=True)
    console.out.print(
        f"--on {phone.ssh_url} --ssh-key {phone.ssh_key} --known-hosts {phone.known_hosts}", soft_wrap=True
    )
