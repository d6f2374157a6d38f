"""The plot of KLD over decode speed: a figure for each evaluation and phone that measured one of its models."""

from __future__ import annotations

from collections.abc import Iterator

from smoothdroid.host.report.data.model_files import pairs
from smoothdroid.host.report.data.phone_results import PhoneResults, main_test
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.data.safe_text import line, short
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.kld import conditions, description, kld_over
from smoothdroid.host.results.statistics import Interval


def draw(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a figure for each evaluation and phone that measured one of its candidates."""
    for quality in data.evaluations:
        evaluation = quality.evaluation
        arrows = pairs(evaluation, data.model_files)
        for phone in data.phones:
            speeds, test = decode_speeds(phone)
            points = [
                (row.model.name, row.model.sha256, row.distance, speeds[row.model.sha256])
                for row in quality.rows
                if row.distance and row.model.sha256 in speeds
            ]
            if points:
                axis = f"tokens/s, {test}"
                heading = "\n".join(filter(None, [short(phone.title, 60), conditions(evaluation), phone.caveat]))
                title = f"KLD to {evaluation.reference.name} over decode speed on {phone.title}, {evaluation.kernels}"
                figure = kld_over(points, axis, heading, arrows)
                yield ReportFigure(line(title), description(points, axis, arrows=bool(arrows)), figure)


def decode_speeds(phone: PhoneResults) -> tuple[dict[str, Interval], str]:
    """Return each model's tokens/s at its best valid setting in one decode test, by the model's hash, and the test."""
    test = main_test(phone.rows, of_prefill=False)
    best = (one for one in phone.best_settings if one.row.label == test and not one.row.is_prefill)
    return {one.row.judged.cell.model_sha256: one.rate for one in best}, test or ""
