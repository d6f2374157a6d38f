"""The output of `bench`: progress while phones measure, then their results as tables or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.common import console
from smoothdroid.host.farm import progress_table
from smoothdroid.host.farm.bench_call import Display
from smoothdroid.host.farm.member import PhoneResult
from smoothdroid.host.farm.phone_work import Unexpected
from smoothdroid.host.farm.progress_table import ProgressRow
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.record import Run

if TYPE_CHECKING:
    from smoothdroid.host.report.data.rows import EvaluatedCampaign

T = TypeVar("T")


@contextmanager
def progress(rows: Sequence[ProgressRow], *, single: bool) -> Iterator[Display]:
    """Show how a benchmark goes for as long as the block runs: a bar for a single phone, a table for several."""
    if single:
        with console.bar() as bar:
            yield _SinglePhone(bar)
    else:
        with console.live_table(progress_table.COLUMNS, lambda: [row.cells() for row in rows]):
            yield _ManyPhones()


class _SinglePhone(Display):
    """A progress bar and a line for each run; the phone is not named, and its error is the command's."""

    def __init__(self, bar: console.Bar) -> None:
        self._bar = bar

    def step(self, phone: str, text: str) -> None:
        console.step(text)

    def sending(self, phone: str, done: int, total: int) -> None:
        self._bar.update("sending MiB", done >> 20, total >> 20)

    def cell_begins(self, phone: str, cell: Cell, number: int, total: int) -> None:
        self._bar.update("measuring", number - 1, total)

    def run_ended(self, phone: str, run: Run) -> None:
        console.step(run_line(run))

    def warning(self, phone: str, text: str) -> None:
        console.warning(text)


class _ManyPhones(Display):
    """Lines that name their phone; what the table on a terminal shows already is printed only into a log file."""

    def step(self, phone: str, text: str) -> None:
        if not console.err.is_terminal:
            console.step(f"{phone}: {text}")

    def run_ended(self, phone: str, run: Run) -> None:
        if run.failure:
            console.step(f"{phone}: {run_line(run)}")
        else:
            self.step(phone, run_line(run))

    def warning(self, phone: str, text: str) -> None:
        console.warning(f"{phone}: {text}")

    def retrying(self, phone: str, error: Exception) -> None:
        console.step(f"{phone}: {error} It is retried while others measure")

    def given_up(self, phone: str, error: Exception) -> None:
        console.warning(f"{phone}: {error}")


def run_line(run: Run) -> str:
    """Return one line on a run: its cell, and its rates or its failure."""
    cell = run.cell
    mask = f" on CPUs {cpu_masks.listed(cell.cpus)}" if cell.cpus else ""
    parts = [cell.model, cell.test.name, f"{cell.threads_label}{mask}", str(cell.options)]
    parts += [f"round {run.round + 1}"] if run.round else []
    rates = ", ".join(f"{rate:.2f}" for rate in run.tokens_per_s)
    return f"{', '.join(filter(None, parts))}: " + (f"failed: {run.failure}" if run.failure else f"{rates} tokens/s")


def show(results: Sequence[PhoneResult], *, single: bool, json: bool) -> int:
    """Print the results and return the command's exit status. Raises the error of a single phone."""
    return _show_single(results[0], json=json) if single else _show_many(results, json=json)


def _show_single(result: PhoneResult, *, json: bool) -> int:
    if result.error:
        raise result.error.error if isinstance(result.error, Unexpected) else result.error
    if result.campaign is None:
        raise BadInput(result.nothing_to_do)
    if json:
        console.facts(facts(result))
    else:
        if table := _table(result):
            console.show(table)
        console.out.print(
            f"{result.campaign.folder}  ({len(result.runs) - result.failed} measured, {result.failed} failed, "
            f"{result.campaign.reused} already measured)",
            soft_wrap=True,
        )
    return int(result.failed > 0)


def _show_many(results: Sequence[PhoneResult], *, json: bool) -> int:
    if json:
        console.facts({"phones": [facts(result) for result in results]})
    else:
        for table in filter(None, map(_table, results)):
            console.show(table)
        columns = ["phone", "model", "measured", "failed", "already measured", "results, or the error"]
        console.table("", columns, [_row(result) for result in results])
    failed = any(result.failed for result in results)
    return max([int(failed), *(result.error.exit_status for result in results if result.error)])


def facts(result: PhoneResult) -> dict[str, Any]:
    """Return a phone's result for `--json`."""
    from smoothdroid.host.report.data import rows

    campaign = result.campaign
    return {
        "name": result.member.name,
        "target": result.member.on,
        "phone": result.phone.model_dump() if result.phone else None,
        "folder": str(campaign.folder) if campaign else None,
        "reused": campaign.reused if campaign else None,
        "kept": campaign.reused if campaign else None,  # the key of 0.1, for one release
        "runs": [run.model_dump(mode="json") for run in result.runs],
        "cells": (_of_section(result, rows.as_facts) or {"rows": []})["rows"],
        "error": str(result.error) if result.error else None,
        "nothing_to_do": result.nothing_to_do or None,
    }


def _row(result: PhoneResult) -> list[str]:
    campaign, phone = result.campaign, result.phone
    return [
        result.member.name,
        phone.model if phone else "-",
        str(len(result.runs) - result.failed),
        str(result.failed),
        str(campaign.reused) if campaign else "-",
        str(result.error or result.nothing_to_do or (campaign.folder if campaign else "")),
    ]


def _table(result: PhoneResult) -> Any:  # noqa: ANN401 (a table of rich, which is imported by those that print)
    from smoothdroid.host.report.tables import cells

    return _of_section(result, cells.terminal)


def _of_section(result: PhoneResult, make: Callable[[EvaluatedCampaign], T]) -> T | None:
    """Call `make` with a phone's results; return None, with a warning, where there are none or they are damaged."""
    from smoothdroid.host.report.data import rows

    if result.campaign is None:
        return None
    damage: list[str] = []
    made = None
    try:
        made = make(rows.evaluate_campaign(result.campaign.folder, damage))
    except Exception as error:  # one phone's record must not hide the others'
        damage.append(str(error if isinstance(error, SmoothdroidError) else Unexpected(error)))
    for damaged in damage:
        console.warning(f"{result.member.name}: left out: {damaged}")
    return made
