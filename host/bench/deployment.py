"""A plan's programs and models on a phone, and the tasks that run them there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smoothdroid.device.info.required_tools import TASKSET, require
from smoothdroid.device.job.task import Task
from smoothdroid.device.store import upload
from smoothdroid.device.store.program import Installed, install
from smoothdroid.device.transport.target import Progress, Target
from smoothdroid.host.bench import command_lines
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.schedule import Slot
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.plan import Plan

CELL_TIMEOUT_S = 3600
SLOWED_DOWN = 4  # a phone that gets this much slower than its burst in a sustained test has stopped working


@dataclass(frozen=True)
class PlanFiles:
    """The programs and models of a plan on the phone."""

    tools: dict[str, Installed]
    models: dict[str, str]
    """The path of each model, by its sha256."""


def deploy(
    plan: Plan, target: Target, binaries: Binaries, on_step: Callable[[str], None], on_push: Progress
) -> PlanFiles:
    """Send the files that are missing. Raises NoPhone, before anything is sent, where the phone lacks a tool."""
    if any(cell.cpus for cell in plan.cells()):
        require(target, [TASKSET])
    tools, models = {}, {}
    for tool in dict.fromkeys(tool_of(cell) for cell in plan.cells()):
        on_step(f"deploying {tool}")
        tools[tool] = install(target, binaries.tools[tool], binaries.extra_files, progress=on_push)
    for model in plan.models:
        on_step(f"deploying {model.name}")
        models[model.sha256] = upload.ensure(target, model.path, model.sha256, progress=on_push)
    return PlanFiles(tools, models)


def tool_of(cell: Cell) -> str:
    """Return the name of the program that measures a cell."""
    return "llama-completion" if cell.test.prompt else "llama-bench"


def task_of(slot: Slot, files: PlanFiles) -> Task:
    """Return the task that measures one process of a cell."""
    cell = slot.cell
    tool, model = files.tools[tool_of(cell)], files.models[cell.model_sha256]
    argv = command_lines.command_line(tool.path, model, cell, slot.repetitions)
    return Task(slot.task, argv, timeout_s(cell), env=tool.env, cpus=cell.cpus)


def timeout_s(cell: Cell) -> int:
    """Return the time after which a process of a cell is ended, in seconds."""
    return CELL_TIMEOUT_S + SLOWED_DOWN * cell.test.sustained_s
