"""The record of a run, made from a task that ended on the phone."""

from __future__ import annotations

from typing import Any

from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.device.job.outputs import Done
from smoothdroid.host.bench import command_lines
from smoothdroid.host.bench.deployment import timeout_s, tool_of
from smoothdroid.host.llamacpp.exit_causes import why_it_died
from smoothdroid.host.llamacpp.kernel_log import parse_kernels
from smoothdroid.host.llamacpp.tool_output import NoNumber, parse_bench, parse_completion
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.record import Run


def run_of(job: str, done: Done, cell: Cell, fingerprint: str, round: int) -> Run:
    """Return the record of a run: what it measured, or why it failed."""
    ended = done.ended
    measured: dict[str, Any] = {}
    failure = _failure(done, cell)
    if failure is None:
        try:
            measured = _measured(done, cell)
        except NoNumber as error:
            failure = str(error)
    return Run(
        fingerprint=fingerprint,
        cell=cell,
        round=round,
        started_at=ended.began_at,
        wall_s=ended.wall_s,
        failure=failure,
        **measured,
        job=job,
        attempt=ended.attempt,
        waited=ended.waited,
        mask_held=done.samples.held(cell.cpus) if done.samples and cell.cpus else None,
        runner_cpu_s=ended.runner_cpu_s,
    )


def celsius_at_end(done: Done) -> float | None:
    """Return the last temperature of the hottest zone; None where none was read."""
    zones = done.samples.celsius.values() if done.samples else ()
    return max((known[-1] for zone in zones if (known := [c for c in zone if c is not None])), default=None)


def _failure(done: Done, cell: Cell) -> str | None:
    """Return why a task did not end by itself with status 0; None where it did."""
    ended = done.ended
    if ended.how == "timeout":
        return (
            f"it was still running after {timeout_s(cell)} s and was ended. If it hangs, close other apps on the "
            "phone; if it is only slow, ask for fewer repetitions or tokens"
        )
    if ended.how == "abandoned":
        return (
            f"it was started {ended.attempt} times, and each time the phone or the runner on it went down: too little "
            "memory, or a phone too hot? Take a smaller model or fewer threads"
        )
    if ended.exit_status != 0:
        return why_it_died(CommandFailed("phone", [tool_of(cell)], ended.exit_status, done.stdout, done.stderr))
    return None


def _measured(done: Done, cell: Cell) -> dict[str, Any]:
    """Return fields of a Run. Raises NoNumber when the tool printed no rate, or measured something else."""
    kernels = parse_kernels(done.stderr)
    if cell.test.prompt:
        completion = parse_completion(done.stderr)
        return {"completion": completion, "tokens_per_s": [completion.generated_tps], "kernels": kernels}
    record = command_lines.check(parse_bench(done.stdout), cell, kernels)
    return {"bench": record, "tokens_per_s": record.samples_ts, "kernels": kernels}
