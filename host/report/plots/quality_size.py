"""The plot of KLD over file size: a figure for each evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from smoothdroid.host.report.data.model_files import pairs
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.safe_text import line
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.kld import SIZE_AXIS, description, kld_over_size, points_over_size


def draw(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each evaluation."""
    for quality in data.evaluations:
        evaluation = quality.evaluation
        arrows = pairs(evaluation, data.model_files)
        title = f"KLD to {evaluation.reference.name} over file size, {evaluation.kernels}"
        text = description(points_over_size(quality), SIZE_AXIS, arrows=bool(arrows))
        yield ReportFigure(line(title), text, kld_over_size(quality, arrows))
