"""What was kept up for minutes -> tokens/s, temperature and frequency on one axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from smoothdroid.device.info.phone import Cluster
from smoothdroid.device.telemetry.samples import Observation, Sample
from smoothdroid.host.report.data import sustained
from smoothdroid.host.report.data.phone_results import setting
from smoothdroid.host.report.data.rows import Row, Section
from smoothdroid.host.report.data.safe_text import short
from smoothdroid.host.report.plots.figure import Picture
from smoothdroid.host.report.plots.style import PANEL_INCHES, look, panel
from smoothdroid.host.results.record import observation

ZONES = 4
"""Drawn: the hottest. A phone has up to a hundred, and most say the same."""

NAME = 24  # characters of a zone's name
Series = list[tuple[float, float]]
"""Minutes since the first repetition began, and the value then."""


def over_time(sections: Sequence[Section], damage: list[str]) -> Iterator[Picture]:
    """A picture for each sustained cell that was measured. Damaged samples are named in `damage`."""
    number = 0
    for section in sections:
        for row in section.rows:
            if row.judged.cell.test.sustained_s and row.tokens_per_s:
                number += 1
                yield _picture(f"sustained-{number}", section, row, damage)


def _picture(name: str, section: Section, row: Row, damage: list[str]) -> Picture:
    run, kept_up = row.judged.runs[0], sustained.of(row.judged)
    seen = observation(section.folder, run, damage)
    begin = run.wall_s - run.measured_s
    zones, clusters = _zones(seen, begin), _clusters(seen, begin, section.campaign.phone.clusters)
    below = [(what, found) for what, found in (("°C", zones), ("MHz", clusters)) if found]
    figure, (rates, *others) = panel(1 + len(below), (PANEL_INCHES[0], 2.2 + 1.5 * len(below)))
    minutes = [end_s / 60 for end_s in (0.0, *kept_up.ends_s)]
    rates.stairs(kept_up.tokens_per_s, minutes, baseline=None, color=look(0)["color"], linewidth=1.5)
    rates.set_ylim(0, 1.1 * max(kept_up.tokens_per_s))
    rates.set_ylabel("tokens/s")
    for axes, (what, found) in zip(others, below, strict=True):
        _draw(axes, found)
        axes.set_ylabel(what)
    [rates, *others][-1].set_xlabel("minutes")
    what = f"{short(row.model, 44)}, {row.test}, {setting(row)}"
    invalid = "" if row.valid else f"not to be believed: {row.verdict}"
    title = "\n".join(filter(None, [short(section.title, 60), what, invalid, section.caveat]))
    rates.set_title(title, fontsize=9)
    return Picture(name, f"{section.title}: {what}, over time", _told(row, kept_up, zones, clusters), figure)


def _draw(axes: Axes, found: dict[str, Series]) -> None:
    for index, (name, series) in enumerate(found.items()):
        times, values = zip(*series, strict=True)
        axes.plot(times, values, color=look(index)["color"], linewidth=1.2, label=short(name, NAME))
    handles, labels = axes.lines, [short(name, NAME) for name in found]
    axes.legend(handles, labels, frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _zones(seen: Observation, begin: float) -> dict[str, Series]:
    series: dict[str, Series] = {}
    for sample in _while_measured(seen, begin):
        for zone, celsius in sample.celsius.items():
            series.setdefault(zone, []).append(((sample.at_s - begin) / 60, celsius))
    hottest = sorted(series, key=lambda zone: max(value for _, value in series[zone]), reverse=True)[:ZONES]
    return {zone: series[zone] for zone in hottest}


def _clusters(seen: Observation, begin: float, clusters: Sequence[Cluster]) -> dict[str, Series]:
    """The fastest CPU of each."""
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


def _told(row: Row, kept_up: sustained.Sustained, *found: dict[str, Series]) -> str:
    ranges = [
        f"{name} from {min(v for _, v in series):g} to {max(v for _, v in series):g} {unit}"
        for unit, named in zip(("°C", "MHz"), found, strict=True)
        for name, series in named.items()
    ]
    return "; ".join([str(kept_up), *ranges] if ranges else [str(kept_up), "no temperatures, no frequencies on record"])
