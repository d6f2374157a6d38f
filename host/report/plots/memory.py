"""The plot of memory use: bars of each model against the phone's memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smoothdroid.host.report.data.memory import MemoryUse
from smoothdroid.host.report.data.numbers import mebibytes
from smoothdroid.host.report.data.phone_results import PhoneResults
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.style import COLOURS, PANEL_INCHES, legend, panel


def draw(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each phone on which memory was measured."""
    for phone, used in data.memory:
        if shown := [one for one in used if one.measured]:
            yield _figure(phone, shown)


def _figure(phone: PhoneResults, used: Sequence[MemoryUse]) -> ReportFigure:
    figure, (axes,) = panel(inches=(PANEL_INCHES[0], 1.6 + 0.55 * len(used)))
    places = range(len(used))
    weights, caches = [one.weights_mb or 0 for one in used], [one.cache_mb or 0 for one in used]
    above, below = [place - 0.2 for place in places], [place + 0.2 for place in places]
    handles = [
        axes.barh(above, weights, 0.36, color=COLOURS[0]),
        axes.barh(above, caches, 0.36, left=weights, color=COLOURS[4]),
        axes.barh(below, [one.pss_mb or 0 for one in used], 0.36, color=COLOURS[2]),
        axes.axvline(phone.memory_mb, linestyle="--", color=COLOURS[1]),
    ]
    axes.set_yticks(places, [short(one.file.format or one.file.name, 24) for one in used], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("MiB")
    axes.set_title(f"memory use, {short(phone.title, 50)}", fontsize=9)
    legend(figure, handles, ["weights", "KV cache", "peak PSS", "the phone's memory"])
    description = "; ".join(
        f"{one.file.name}: weights {_text(one.weights_mb)}, KV cache {_text(one.cache_mb)}, "
        f"peak PSS {_text(one.pss_mb)}"
        for one in used
    )
    return ReportFigure(f"{phone.title}: memory use in MiB, of {phone.memory_mb}", description, figure)


def _text(mb: float | None) -> str:
    return mebibytes(mb) or "not measured"
