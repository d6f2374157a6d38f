"""The plot of sustained tests: tokens/s, temperatures and frequencies on one time axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from smoothdroid.device.info.cpu import Cluster
from smoothdroid.device.telemetry.samples import Observation, Sample
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.rows import CellRow, EvaluatedCampaign
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.data.sustained import SustainedRates, sustained_rates
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.style import PANEL_INCHES, look, panel
from smoothdroid.host.results.record import observation

ZONES = 4
"""Thermal zones in a figure, the hottest: a phone has up to a hundred, and most report the same."""

NAME = 24
"""Characters of a zone's name in the legend."""

Series = list[tuple[float, float]]
"""Minutes since the first repetition began, and the value then."""


def draw(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each sustained cell that was measured."""
    for evaluated in data.campaigns:
        for row in evaluated.rows:
            if row.judged.cell.test.sustained_s and row.tokens_per_s:
                yield _figure(evaluated, row)


def _figure(evaluated: EvaluatedCampaign, row: CellRow) -> ReportFigure:
    run, sustained = row.judged.runs[0], sustained_rates(row.judged)
    seen = observation(evaluated.folder, run, damage=[])  # damage was reported when the cell was evaluated
    begin = run.wall_s - run.measured_s
    zones, clusters = _zones(seen, begin), _clusters(seen, begin, evaluated.campaign.phone.clusters)
    below = [(unit, series) for unit, series in (("°C", zones), ("MHz", clusters)) if series]
    figure, (rates, *others) = panel(1 + len(below), (PANEL_INCHES[0], 2.2 + 1.5 * len(below)))
    minutes = [end_s / 60 for end_s in (0.0, *sustained.ends_s)]
    rates.stairs(sustained.tokens_per_s, minutes, baseline=None, color=look(0)["color"], linewidth=1.5)
    rates.set_ylim(0, 1.1 * max(sustained.tokens_per_s))
    rates.set_ylabel("tokens/s")
    for axes, (unit, series) in zip(others, below, strict=True):
        _draw(axes, series)
        axes.set_ylabel(unit)
    [rates, *others][-1].set_xlabel("minutes")
    cell = f"{short(row.model, 44)}, {row.test}, {row.setting}"
    invalid = "" if row.valid else f"rejected: {row.verdict}"
    rates.set_title("\n".join(filter(None, [short(evaluated.title, 60), cell, invalid, evaluated.caveat])), fontsize=9)
    title = f"{evaluated.title}: {cell}, over time"
    return ReportFigure(title, _description(sustained, zones, clusters), figure)


def _draw(axes: Axes, named: dict[str, Series]) -> None:
    for index, (name, series) in enumerate(named.items()):
        times, values = zip(*series, strict=True)
        axes.plot(times, values, color=look(index)["color"], linewidth=1.2, label=short(name, NAME))
    handles, labels = axes.lines, [short(name, NAME) for name in named]
    axes.legend(handles, labels, frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _zones(seen: Observation, begin: float) -> dict[str, Series]:
    series: dict[str, Series] = {}
    for sample in _while_measured(seen, begin):
        for zone, celsius in sample.celsius.items():
            series.setdefault(zone, []).append(((sample.at_s - begin) / 60, celsius))
    hottest = sorted(series, key=lambda zone: max(value for _, value in series[zone]), reverse=True)[:ZONES]
    return {zone: series[zone] for zone in hottest}


def _clusters(seen: Observation, begin: float, clusters: Sequence[Cluster]) -> dict[str, Series]:
    """Return the frequency of the fastest CPU of each cluster."""
    series: dict[str, Series] = {}
    for sample in _while_measured(seen, begin):
        for cluster in clusters:
            running = [sample.mhz[cpu] for cpu in cluster.cpus if cpu in sample.mhz]
            if running:
                name = f"{len(cluster.cpus)}×{cluster.name}"
                series.setdefault(name, []).append(((sample.at_s - begin) / 60, max(running)))
    return series


def _while_measured(seen: Observation, begin: float) -> list[Sample]:
    return [sample for sample in seen.samples if sample.at_s >= begin]


def _description(sustained: SustainedRates, zones: dict[str, Series], clusters: dict[str, Series]) -> str:
    ranges = [
        f"{name} from {min(v for _, v in series):g} to {max(v for _, v in series):g} {unit}"
        for unit, named in (("°C", zones), ("MHz", clusters))
        for name, series in named.items()
    ]
    return "; ".join([str(sustained), *(ranges or ["no temperatures or frequencies recorded"])])
