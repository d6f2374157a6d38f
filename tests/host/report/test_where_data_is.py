"""Every figure shows its data where it is: what is drawn is compared with what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import StepPatch
from matplotlib.text import Annotation

from smoothdroid.host.report.data.quality import Quality
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.sustained import sustained_rates
from smoothdroid.host.report.plots import phones, quality_size, quality_speed, sustained, threads
from smoothdroid.host.report.plots.alpha import alpha_by_layer
from smoothdroid.host.report.plots.kld import kld_over_size
from smoothdroid.host.results.statistics import interval
from tests.host.fakes import model
from tests.host.report.plots.test_alpha import STRENGTHS, manifest
from tests.host.report.whole import evaluation

Point = tuple[float, float]


def drawn(axes: Axes) -> list[Point]:
    """The points of all lines with bars, as their artists place them."""
    found: list[Point] = []
    for line in axes.containers:
        assert isinstance(line, ErrorbarContainer)
        points = line.lines[0]
        xs, ys = (np.asarray(values, dtype=float) for values in (points.get_xdata(), points.get_ydata()))
        found += [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        assert not any(offset.any() for bars in line.lines[2] for offset in np.asarray(bars.get_offsets()))
    return found


@pytest.mark.parametrize(
    "size_bytes", [[2_479_000_000, 2_479_100_000], [773_000_000] * 4, [850_000_000, 773_000_000, 773_000_001]]
)
def test_files_are_drawn_at_their_size(size_bytes: list[int]) -> None:
    """A file of 2479 MB was drawn at 2402, to keep markers apart, and one of 773 at 850."""
    models = [model(f"m{number}").model_copy(update={"size_bytes": size}) for number, size in enumerate(size_bytes)]
    quality = Quality(evaluation(models))
    (axes,) = kld_over_size(quality).axes
    expected = [(row.model.size_bytes / 1e6, row.distance.kld.mean) for row in quality.rows if row.distance]
    assert drawn(axes) == expected
    assert {x for x, _ in expected} == {size / 1e6 for size in size_bytes}
    low, high = axes.get_xlim()
    assert all(low < x < high for x, _ in expected)


def test_quality_over_size_and_speed(inputs: ReportData) -> None:
    for picture in quality_size.draw(inputs):
        (quality,) = inputs.evaluations
        (axes,) = picture.figure.axes
        assert [x for x, _ in drawn(axes)] == [one.model.size_bytes / 1e6 for one in quality.evaluation.candidates]
        ends = [end for text in axes.texts if isinstance(text, Annotation) for end in (text.xy, text.xyann)]
        assert set(ends) <= set(drawn(axes)), "an arrow leads from point to point"
    first, second = quality_speed.draw(inputs)
    assert [x for x, _ in drawn(first.figure.axes[0])] == pytest.approx(
        [interval(rates).mean for rates in ([40, 40.4, 39.6], [41, 41.41, 40.59])]
    )
    assert [x for x, _ in drawn(second.figure.axes[0])] == pytest.approx([10])


def test_tokens_per_second_stand_at_their_number_of_threads(inputs: ReportData) -> None:
    rows = [row for evaluated in inputs.campaigns for row in evaluated.rows if not row.judged.cell.test.sustained_s]
    expected = {(float(row.threads), row.tokens_per_s.mean) for row in rows if row.tokens_per_s}
    found: set[Point] = set()
    for picture in threads.draw(inputs):
        (axes,) = picture.figure.axes
        found |= set(drawn(axes))
        assert {text.xy for text in axes.texts if isinstance(text, Annotation)} <= found
    assert found == expected


def test_phones_side_by_side_each_have_a_line_for_each_model(inputs: ReportData) -> None:
    for picture in phones.draw(inputs):
        (axes,) = picture.figure.axes
        points = drawn(axes)
        assert {x for x, _ in points} <= {best.rate.mean for group in inputs.phones for best in group.best_settings}
        assert all(y == int(y) for _, y in points)
        assert len({y for _, y in points}) == len(points), "no two points share a line"


def test_strengths_stand_at_their_layer() -> None:
    """A fold that was left out has no strength: it stands at a tick of its own, `none`."""
    (axes,) = alpha_by_layer(manifest()).axes
    found = {
        (float(x), float(y))
        for line in axes.lines
        for x, y in zip(*(np.asarray(values, dtype=float) for values in line.get_data()), strict=True)
    }
    none = axes.get_yticks()[0]
    last = max(one.layer for one in STRENGTHS if one.layer is not None) + 1
    assert found == {
        (last if one.layer is None else one.layer, none if one.alpha is None else one.alpha) for one in STRENGTHS
    }
    assert axes.get_yticklabels()[0].get_text() == "none"


def test_what_was_sustained_stands_at_its_minutes(inputs: ReportData) -> None:
    pictures = list(sustained.draw(inputs))
    rows = [
        row
        for evaluated in inputs.campaigns
        for row in evaluated.rows
        if row.judged.cell.test.sustained_s and row.tokens_per_s
    ]
    assert len(pictures) == len(rows) > 0
    for picture, row in zip(pictures, rows, strict=True):
        (steps,) = [patch for patch in picture.figure.axes[0].patches if isinstance(patch, StepPatch)]
        values, edges, _ = steps.get_data()
        assert list(values) == list(sustained_rates(row.judged).tokens_per_s)
        assert list(edges) == [0.0, *(end / 60 for end in sustained_rates(row.judged).ends_s)]
