"""What a model takes of a phone's memory: weights, KV cache, and the benchmark's peak, as measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.host.report.data.model_files import Form
from smoothdroid.host.report.data.phone_results import Group, question, source
from smoothdroid.host.report.data.rows import Row
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.plots.figure import Picture
from smoothdroid.host.report.plots.style import COLOURS, PANEL_INCHES, legend, panel
from smoothdroid.host.report.sections.section import Cell, Table, cell
from smoothdroid.host.results.record import Run, conditions

MIB = 2**20


@dataclass(frozen=True)
class Taken:
    """By one model on one phone, in the run that took most. MiB; None: not measured."""

    form: Form
    row: Row | None
    weights_mb: float | None
    """llama.cpp's own buffers of weights, repacked ones included."""
    cache_mb: float | None
    pss_mb: float | None
    """The benchmark's peak, without its share of what others hold too."""


def taken(group: Group, known: Iterable[Form]) -> Iterator[Taken]:
    """A line for each model that the group's plans have."""
    runs: dict[str, list[_Took]] = {}
    for section in group.sections:
        for row in section.rows:
            for run in row.judged.runs:
                runs.setdefault(row.judged.cell.model_sha256, []).append(_took(section.folder, row, run))
    planned = {model.sha256 for section in group.sections for model in section.campaign.plan.models}
    for form in known:
        if form.sha256 in planned:
            yield _of(form, runs.get(form.sha256, []))


def table(group: Group, found: Iterable[Taken]) -> Table:
    """With where each figure is from."""
    ram = f"of {group.memory_mb} MiB"
    return Table(
        f"Memory on {group.title}, MiB; the phone has {group.memory_mb}",
        ("model", "file", "weights", "KV cache", "peak PSS", "peak PSS of the phone's", "in"),
        [
            (
                Cell(one.form.name),
                Cell(f"{one.form.size_bytes / MIB:.0f}", "the file's size", one.form.size_bytes),
                cell(_shown(one.weights_mb), "llama.cpp's log", one.weights_mb),
                cell(_shown(one.cache_mb), "llama.cpp's log", one.cache_mb),
                cell(_shown(one.pss_mb), "the phone's kernel", one.pss_mb),
                cell(None if one.pss_mb is None else f"{one.pss_mb / group.memory_mb:.1%}", ram, one.pss_mb),
                Cell(question(one.row), source(one.row)) if one.row else cell(None),
            )
            for one in found
        ],
        frozenset({"file", "weights", "KV cache", "peak PSS", "peak PSS of the phone's"}),
    )


def picture(number: int, group: Group, found: list[Taken]) -> Picture | None:
    """Bars against the phone's memory; None where nothing was measured."""
    shown = [one for one in found if one.pss_mb is not None or one.weights_mb is not None]
    if not shown:
        return None
    figure, (axes,) = panel(inches=(PANEL_INCHES[0], 1.6 + 0.55 * len(shown)))
    places = range(len(shown))
    weights, caches = [one.weights_mb or 0 for one in shown], [one.cache_mb or 0 for one in shown]
    above, below = [place - 0.2 for place in places], [place + 0.2 for place in places]
    handles = [
        axes.barh(above, weights, 0.36, color=COLOURS[0]),
        axes.barh(above, caches, 0.36, left=weights, color=COLOURS[4]),
        axes.barh(below, [one.pss_mb or 0 for one in shown], 0.36, color=COLOURS[2]),
        axes.axvline(group.memory_mb, linestyle="--", color=COLOURS[1]),
    ]
    axes.set_yticks(places, [short(one.form.label or one.form.name, 24) for one in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("MiB")
    axes.set_title(f"memory, {short(group.title, 50)}", fontsize=9)
    legend(figure, handles, ["weights", "KV cache", "peak PSS", "the phone's memory"])
    told = "; ".join(
        f"{one.form.name}: weights {_shown(one.weights_mb) or 'not measured'}, KV cache "
        f"{_shown(one.cache_mb) or 'not measured'}, peak PSS {_shown(one.pss_mb) or 'not measured'}"
        for one in shown
    )
    return Picture(f"memory-{number}", f"{group.title}: memory in MiB, of {group.memory_mb}", told, figure)


@dataclass(frozen=True)
class _Took:
    """The memory that one run took, in MiB; None where it was not measured."""

    row: Row
    run: Run
    pss_mb: float | None

    @property
    def size(self) -> tuple[float, float]:
        """More is more: the peak first, then the KV cache."""
        return self.pss_mb or 0, (self.run.kernels and self.run.kernels.cache_mb) or 0


def _took(folder: Path, row: Row, run: Run) -> _Took:
    seen = conditions(folder, run, damage=[])  # damaged samples were named when the run was judged
    return _Took(row, run, seen.pss_peak_mb if seen else None)


def _of(form: Form, runs: list[_Took]) -> Taken:
    if not runs:
        return Taken(form, None, None, None, None)
    most = max(runs, key=lambda one: one.size)
    kernels = most.run.kernels
    weights = sum(kernels.weights_mb.values()) if kernels and kernels.weights_mb else None
    return Taken(form, most.row, weights, kernels.cache_mb if kernels else None, most.pss_mb)


def _shown(mb: float | None) -> str | None:
    return None if mb is None else f"{mb:.0f}" if mb >= 10 else f"{mb:.2g}"
