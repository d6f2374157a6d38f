"""The best of each model on each phone -> phones side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smoothdroid.host.report.data.phone_results import Best, Group, question
from smoothdroid.host.report.data.safe_text import line, short
from smoothdroid.host.report.plots.figure import Picture
from smoothdroid.host.report.plots.style import PANEL_INCHES, bars, legend, look, panel
from smoothdroid.host.report.tables.cells import number
from smoothdroid.host.results.statistics import CONFIDENCE


def common(groups: Sequence[Group]) -> list[str]:
    """The tests that have a valid answer on more than one phone."""
    asked = [{question(best.row) for best in group.bests} for group in groups]
    return [
        name for name in dict.fromkeys(n for one in asked for n in sorted(one)) if sum(name in s for s in asked) > 1
    ]


def side_by_side(groups: Sequence[Group]) -> Iterator[Picture]:
    """A picture for each test that more than one phone has."""
    for count, test in enumerate(common(groups), 1):
        found = [(group, [b for b in group.bests if question(b.row) == test]) for group in groups]
        there = [(group, best) for group, best in found if best]
        models = list(dict.fromkeys(best.row.model for _, all_best in there for best in all_best))
        height = 1.4 + max(0.5, 0.13 * (len(models) + 1)) * len(there) + 0.18 * len(models)
        figure, (axes,) = panel(inches=(PANEL_INCHES[0], height))
        each = len(models) + 1  # a phone has a line for each model, and an empty one
        handles = []
        for index, model in enumerate(models):
            mine = [(place, b) for place, (_, all_best) in enumerate(there) for b in all_best if b.row.model == model]
            handles.append(
                axes.errorbar(
                    [b.rate.mean for _, b in mine],
                    [place * each + index for place, _ in mine],
                    xerr=bars([b.rate for _, b in mine]),
                    linestyle="none",
                    markersize=5,
                    capsize=3,
                    **look(index),
                )
            )
        middles = [place * each + (len(models) - 1) / 2 for place in range(len(there))]
        axes.set_yticks(middles, [_named(group) for group, _ in there], fontsize=8)
        axes.set_ylim(len(there) * each - 1, -1)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"tokens/s ({CONFIDENCE:.0%} interval)")
        axes.set_title(f"{short(test, 40)}: best valid setting of each phone", fontsize=9)
        legend(figure, handles, [short(model, 44) for model in models])
        yield Picture(f"phones-{count}", line(f"{test} on each phone"), _told(there), figure)


def _named(group: Group) -> str:
    return short(group.title, 32) + ("\n(emulated: no speed)" if group.emulated else "")


def _told(there: Sequence[tuple[Group, Sequence[Best]]]) -> str:
    return "; ".join(
        f"{group.title}, {best.row.model}: {number(best.rate.mean)} tokens/s"
        for group, all_best in there
        for best in all_best
    )
