"""`smoothdroid doctor`."""

from __future__ import annotations

import dataclasses

from host import console, doctor
from host.cli.command import app
from host.cli.options import Json


@app.command("doctor", epilog="Example: smoothdroid doctor --json")
def doctor_command(json: Json = False) -> None:
    """Look at what this machine has, what it lacks, and what to do about it."""
    checks = doctor.examine()
    if json:
        console.facts([dataclasses.asdict(check) for check in checks])
        return
    rows = [[check.needed_for, check.what, "ok" if check.ok else "missing", check.detail] for check in checks]
    console.table("", ["for", "what", "", "found, or what to do"], rows)
