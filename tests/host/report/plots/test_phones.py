from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.container import ErrorbarContainer

from smoothdroid.host.report.data.phone_results import common_tests
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.plots.phones import draw


def test_what_several_phones_measured_stands_side_by_side(inputs: ReportData) -> None:
    assert common_tests(inputs.phones) == ["pp512", "tg128"]
    prefill, decode = draw(inputs)
    (axes,) = decode.figure.axes
    drawn = [line.lines[0] for line in axes.containers if isinstance(line, ErrorbarContainer)]
    rates = sorted(float(x) for line in drawn for x in np.asarray(line.get_xdata()))
    assert np.allclose(rates, [10, 40, 41])
    assert len(axes.get_yticks()) == 2
    assert prefill.title == "pp512 on each phone"
    assert "Google Pixel 8 (zuma), over adb, tiny-smooth-q8_0: 41.0 tokens/s" in decode.description


def test_a_bar_is_the_interval_of_the_best_with_its_selection(inputs: ReportData) -> None:
    _, decode = draw(inputs)
    (axes,) = decode.figure.axes
    ends: dict[float, list[float]] = {}
    for drawn in axes.containers:
        assert isinstance(drawn, ErrorbarContainer)
        rates = np.asarray(drawn.lines[0].get_xdata(), dtype=float)
        segments = drawn.lines[2][0].get_segments()
        ends |= {float(rate): [float(s[0][0]), float(s[1][0])] for rate, s in zip(rates, segments, strict=True)}
    best = [one for group in inputs.phones for one in group.best_settings if one.row.label == "tg128"]
    assert len(best) == len(ends) == 3
    for one in best:
        assert np.allclose(ends[one.rate.mean], [one.rate.low, one.rate.high])
        assert one.rate.mean - one.rate.low > one.rate.high - one.rate.mean, "it was chosen among several"


def test_one_phone_alone_is_not_compared(inputs: ReportData) -> None:
    assert list(draw(replace(inputs, campaigns=inputs.campaigns[:1]))) == []
