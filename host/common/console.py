"""Console output: facts on stdout; progress, warnings and errors on stderr.

rich omits colours where the output is not a terminal and where NO_COLOR is set.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from smoothdroid.device.common.text import ACTS, visible

LOG_EVERY_S = 15
FEW_COLUMNS = 4  # a table with so few columns is readable even where words are cut
LONG_WORD = 18  # a longer word, such as a model's name, may be folded
ENDLESS_COLUMNS = 10_000
FILE_COLUMNS = 160  # the width without a terminal; no table is wider


class _Console(Console):
    """A console that prints text of phones, files and models verbatim: no markup, emoji or control characters.

    An escape sequence from a phone could rewrite what was printed before it.
    """

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 (rich's own)
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Override Console.render, through which all output passes, including tables and progress."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


out = _Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else FILE_COLUMNS)
err = _Console(stderr=True, highlight=False, markup=False, emoji=False)
_quiet = False


def quiet(wanted: bool) -> None:
    """Suppress steps and progress, or print them again; facts, warnings and errors remain."""
    global _quiet
    _quiet = wanted


def facts(data: object) -> None:
    """Print `data` as JSON, with characters that act on a terminal escaped, such as `\\u202e`."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write(ACTS.sub(_escaped, text) + "\n")


def _escaped(character: re.Match[str]) -> str:
    return json.dumps(character[0])[1:-1]


def stream(text: str) -> None:
    """Print a piece of a model's answer as it arrives."""
    sys.stdout.write(visible(text))
    sys.stdout.flush()


def step(text: str) -> None:
    """Print the step that begins."""
    # In one call: a progress line might be drawn between two.
    _aside(Text.assemble(("· ", "dim"), visible(text)))


def _aside(text: Text | str) -> None:
    if not _quiet:
        err.print(text, soft_wrap=True)


def warning(text: str) -> None:
    """Print a warning."""
    err.print(Text.assemble(("! ", "yellow"), visible(text)), soft_wrap=True)


class _Warnings(logging.Handler):
    """A handler that prints the warnings that `device` logs."""

    def emit(self, record: logging.LogRecord) -> None:
        warning(record.getMessage())


logging.getLogger("smoothdroid").addHandler(_Warnings(logging.WARNING))


def error(message: str) -> None:
    """Print an error message."""
    err.print(Text.assemble(("error: ", "bold red"), visible(message)), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table of facts."""
    shown = Table(title=title or None)
    for number, column in enumerate(columns):
        # The first column is what people copy. A path that is too long for its column is folded.
        shown.add_column(column, no_wrap=number == 0, overflow="ellipsis" if number == 0 else "fold")
    for row in rows:
        shown.add_row(*row)
    show(shown)


def show(shown: Table) -> None:
    """Print a table, or a block for each row where the terminal is too narrow."""
    shown.box, shown.collapse_padding = box.SIMPLE_HEAD, True
    shown.title_justify = "left"
    caption, shown.caption = shown.caption, None  # rich cuts a caption where the table fills the terminal
    if len(shown.columns) > FEW_COLUMNS and _least_width(shown) > out.width:
        _blocks(shown)
    else:
        out.print(shown)
    if caption:
        out.print(caption, style="table.caption")


def _least_width(shown: Table) -> int:
    """Return the least readable width: only long words in columns that fold are broken."""
    folding = [column for column in shown.columns if column.overflow == "fold" and column.min_width is None]
    for column in folding:
        column.max_width = LONG_WORD
    least = Measurement.get(out, out.options.update(max_width=ENDLESS_COLUMNS), shown).minimum
    for column in folding:
        column.max_width = None
    return least


def _blocks(shown: Table) -> None:
    if shown.title:
        out.print(shown.title, style="table.title")
    for row in zip(*(column.cells for column in shown.columns), strict=True):
        block = Table.grid(padding=(0, 2))
        block.add_column(no_wrap=True)
        block.add_column(overflow="fold")  # not cut, because names often differ in their ends
        for column, value in zip(shown.columns, row, strict=True):
            if value:
                block.add_row(column.header, value)
        out.print("", block)
    out.print()


@contextmanager
def live_table(columns: list[str], rows: Callable[[], list[list[str]]]) -> Iterator[None]:
    """Show a table of the current `rows` on the terminal while the block runs; nothing in a log file."""
    if _quiet or not err.is_terminal:
        yield
        return

    def shown() -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        for number, column in enumerate(columns):
            table.add_column(column, no_wrap=number == 0)
        for row in rows():
            table.add_row(*row)
        return table

    # Not redirected: rich would send stdout to stderr while the table is shown.
    with Live(
        get_renderable=shown,
        console=err,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=2,
    ):
        yield


class Bar:
    """A progress line with the time left; in a log file, a line every LOG_EVERY_S."""

    def __init__(self, progress: Progress | None) -> None:
        """Draw on `progress`, or log without it."""
        self._progress = progress
        self._task: Any = None
        self._label, self._logged_at = "", 0.0

    def update(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` of what `label` names are complete."""
        if self._progress is None:
            self._log(label, done, total)
        elif self._task is None or label != self._label:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(label, total=total, completed=done)
        else:
            self._progress.update(self._task, completed=done, total=total)
        self._label = label

    def _log(self, label: str, done: int, total: int) -> None:
        if label != self._label or time.monotonic() - self._logged_at > LOG_EVERY_S:
            _aside(f"  {label}: {done}/{total}")
            self._logged_at = time.monotonic()


class Transfers:
    """Progress lines for files in transfer, with rate and time left; in a log file, a line every LOG_EVERY_S."""

    def __init__(self, progress: Progress | None) -> None:
        """Draw on `progress`, or log without it."""
        self._progress = progress
        self._tasks: dict[tuple[str, str], Any] = {}
        self._logged_at: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def sending(self, target: str, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of the file `name` have arrived at `target`."""
        with self._lock:
            if self._progress is None:
                self._log((target, name), done, total)
                return
            if (target, name) not in self._tasks:
                label = visible(f"{name} to {target}")
                self._tasks[target, name] = self._progress.add_task(label, total=total, completed=done)
            self._progress.update(self._tasks[target, name], completed=done)

    def _log(self, what: tuple[str, str], done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._logged_at.get(what, -LOG_EVERY_S) >= LOG_EVERY_S:
            _aside(f"  {what[1]} to {what[0]}: {done >> 20} of {total >> 20} MiB")
            self._logged_at[what] = now


@contextmanager
def transfers() -> Iterator[Transfers]:
    """Show the progress of files while the block runs."""
    if _quiet or not err.is_terminal:
        yield Transfers(None)
        return
    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        yield Transfers(progress)


@contextmanager
def bar() -> Iterator[Bar]:
    """Show a progress line while the block runs."""
    if _quiet or not err.is_terminal:
        yield Bar(None)
        return
    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # Not redirected: rich would send stdout to stderr while the line is shown.
    with Progress(*columns, console=err, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        yield Bar(progress)
