"""The commands for jobs and files left on a phone: `phone jobs`, `phone clean`."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import Annotated

import typer

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.job import jobs
from smoothdroid.device.job.session import Session
from smoothdroid.device.store import inventory
from smoothdroid.host.bench import option_values
from smoothdroid.host.cli.command import phone_app
from smoothdroid.host.cli.option_groups import option_groups
from smoothdroid.host.cli.options import Json, OnePhone
from smoothdroid.host.common import console


@phone_app.command("jobs", epilog="Example: smoothdroid phone jobs --on adb:SERIAL")
@option_groups(phone=OnePhone)
def phone_jobs(*, phone: OnePhone, json: Json = False) -> None:
    """List the jobs on a phone: their state, their cells, and the stored files that they need.

    A job is removed when its results are collected. A job on the list is running, or the command that started it was
    ended: give the same command again to collect its results.
    """
    with phone.reached() as (target, _):
        found = jobs.look(Session(target))
        names = {one.id: one.name for one in inventory.listing(target)}
    if json:
        console.facts(
            [{**dataclasses.asdict(job), "pins": [{"id": i, "name": names.get(i)} for i in job.pins]} for job in found]
        )
        return
    if not found:
        console.out.print("no job is on the phone")
        return
    rows = [
        [
            job.name,
            job.state,
            f"{job.done} of {job.total or '?'}",
            str(job.size_bytes >> 10),
            ", ".join(names.get(one, f"{one}, which is missing") for one in job.pins) or "-",
        ]
        for job in found
    ]
    console.table("", ["job", "state", "cells", "KiB", "needs"], rows)
    for job in found:
        for damage in job.damage:
            console.warning(f"{job.name}: {damage}")


@phone_app.command(
    "clean",
    epilog="Example: smoothdroid phone clean --on adb:SERIAL --dry-run\n\n"
    "Only files not used for a week: smoothdroid phone clean --on adb:SERIAL --unused 7d",
)
@option_groups(phone=OnePhone)
def phone_clean(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Remove only these: ids from `smoothdroid phone df`, names from `smoothdroid phone jobs`."),
    ] = None,
    *,
    phone: OnePhone,
    unused: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only files that were not used for this long: 12h, 7d.")
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Also remove jobs with results that were never collected: they are lost."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove from a phone all jobs, models and programs that no running job needs, and list what stays.

    Models and programs can be sent again. Results that no command has collected stay, unless --yes is given.
    """
    if ids and unused:
        raise BadInput("name what to remove, or give --unused 7d, not both")
    idle_s = option_values.seconds(unused, "--unused") if unused else 0.0
    with phone.reached() as (target, _), closing(Session(target)) as session:
        done = jobs.clean(session, ids or [], idle_s=idle_s, uncollected=yes, dry_run=dry_run)
    for one in done.kept:
        console.warning(f"{one.name} stays: {one.why}")
    if json:
        console.facts({"dry_run": dry_run, **done.facts()})
    else:
        _print_cleaned(done, dry_run=dry_run)


def _print_cleaned(done: jobs.CleanResult, *, dry_run: bool) -> None:
    for job in done.jobs:
        lost = f", the results of {job.uncollected} of them uncollected" if job.uncollected else ""
        console.out.print(f"{job.name}  ({job.state}, {job.total or '?'} cells{lost})", soft_wrap=True)
    for path in done.leftovers:
        console.out.print(f"{path}  (left by an interrupted command)", soft_wrap=True)
    for file in done.stored:
        console.out.print(f"{file.id}  {file.name}  ({file.size_bytes >> 20} MiB)", soft_wrap=True)
    total = (sum(job.size_bytes for job in done.jobs) + sum(file.size_bytes for file in done.stored)) >> 20
    console.step(f"{total} MiB {'would be ' if dry_run else ''}removed")
