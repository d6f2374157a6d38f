"""The tasks of a job, and the folder on the phone that the runner reads them from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.record import Record
from smoothdroid.device.job.runner_install import write_folder
from smoothdroid.device.transport.command_line import script
from smoothdroid.device.transport.target import Target

OUTPUT_KB = 4096
"""The limit of standard output and of standard error each: llama-bench writes a few KB."""

PARTS = ("cells", "commands.sh", "limits", "cool")
"""The files of a job, in the order of PARTS in device/job/runner/runner.sh."""


@dataclass(frozen=True)
class Task:
    """A command for the runner."""

    id: str
    """Letters, digits and `-`; unique in a job."""
    argv: Sequence[str]
    timeout_s: int
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: Collection[int] = ()
    """The CPUs that it may run on; empty: those that Android gives it."""


class Cooling(Record):
    """The temperatures that a phone must be below before each task."""

    celsius: float | None = None
    """The limit for every thermal zone."""
    above_start: float | None = None
    """The limit for every thermal zone, above its temperature at the start of the campaign."""
    within_s: int = Field(default=600, ge=0)
    """The longest wait; then the task runs all the same, and the record of the wait says so."""


def write_job(target: Target, job: str, tasks: Sequence[Task], cool: str, cool_within_s: int) -> None:
    """Write a job's folder on the phone, unless it is there; `cool` is the text of the runner's file of that name."""
    folder = f"{target.root}/jobs/{job}"
    if target.run(["test", "-e", folder], check=False).exit_status == 0:
        return  # it was written before the connection broke
    files = {
        "cells": "".join(f"{task.id} {task.timeout_s}\n" for task in tasks),
        "commands.sh": "case $1 in\n" + "".join(f"{task.id})\n{_command(task)}\n;;\n" for task in tasks) + "esac\n",
        "limits": f"cool_within_s {cool_within_s}\noutput_kb {OUTPUT_KB}\n",
        "cool": cool,
    }
    sums = "".join(f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n" for name in PARTS)
    write_folder(target, folder, {**files, "sum": sums, "journal": ""})


def is_name(text: str) -> bool:
    """Return whether a job or a task can have this name."""
    return re.fullmatch(r"[A-Za-z0-9-]{1,80}", text) is not None


def check_names(names: Sequence[str]) -> None:
    """Raise BadInput for a name that no job or task can have, and for one that stands twice."""
    if wrong := [name for name in names if not is_name(name)]:
        raise BadInput(f"{wrong[0]!r} cannot be the name of a job or a task: use letters, digits and `-`")
    if len(set(names)) < len(names):
        raise BadInput("two tasks of a job have the same name")


def _command(task: Task) -> str:
    mask = ["taskset", f"{sum(1 << cpu for cpu in set(task.cpus)):x}"] if task.cpus else []
    return script([*mask, *task.argv], task.env)
