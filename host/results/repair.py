"""Setting aside what is damaged in a campaign's record, so that the campaign goes on and nothing is thrown away."""

from __future__ import annotations

import json
import os
from pathlib import Path

from smoothdroid.device.common.atomic_file import write_atomically
from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.results import upgrade
from smoothdroid.host.results.record import CAMPAIGN, RUNS, Run, read_campaign, read_lines

DAMAGED = "damaged-"
"""Before the name of the file that damaged lines, or a damaged campaign.json, are kept in."""


def repair_campaign(folder: Path) -> str:
    """Rename a damaged campaign.json, to be written anew; returns what was damaged, or an empty text.

    Raises BadInput when a newer smoothdroid wrote it.
    """
    path = folder / CAMPAIGN
    if not path.exists():
        return ""
    try:
        read_campaign(folder)
    except BadInput as error:
        _refuse_newer(path, path.read_bytes(), upgrade.CAMPAIGN_SCHEMA)
        os.replace(path, folder / f"{DAMAGED}{CAMPAIGN}")
        return f"{error}. It is kept as {DAMAGED}{CAMPAIGN} and written anew"
    return ""


def repair_runs(folder: Path) -> list[str]:
    """Move damaged lines out of runs.jsonl; returns what was damaged. The cells that they measured are then missing.

    Raises BadInput when a newer smoothdroid wrote one.
    """
    sound: list[bytes] = []
    damaged: list[bytes] = []
    problems = []
    for number, line, found in read_lines(folder):
        if isinstance(found, Run):
            sound.append(line)
            continue
        _refuse_newer(folder / RUNS, line, upgrade.RUN_SCHEMA)
        damaged.append(line)
        problems.append(
            f"{folder / RUNS}, line {number} was damaged. It is kept in {DAMAGED}{RUNS}; its cell is measured again"
        )
    if damaged:
        with (folder / f"{DAMAGED}{RUNS}").open("ab") as file:
            file.writelines(line + b"\n" for line in damaged)
            file.flush()
            os.fsync(file.fileno())
        write_atomically(folder / RUNS, b"".join(line + b"\n" for line in sound), durable=True)
    return problems


def _refuse_newer(path: Path, text: bytes, newest: int) -> None:
    try:
        version = upgrade.version(json.loads(text))
    except (ValueError, RecursionError):
        return
    if version is not None and version > newest:
        raise BadInput(f"{path} was written by a newer smoothdroid (schema {version}): update, or give another -o")
