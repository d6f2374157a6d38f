from __future__ import annotations

import numpy as np
from matplotlib.container import ErrorbarContainer

from host.report.groups import groups
from host.report.inputs import Inputs
from host.report.phones_plot import common, side_by_side


def test_what_several_phones_measured_stands_side_by_side(inputs: Inputs) -> None:
    found = groups(inputs.sections)
    assert common(found) == ["pp512", "tg128"]
    prefill, decode = side_by_side(found)
    (axes,) = decode.figure.axes
    drawn = [line.lines[0] for line in axes.containers if isinstance(line, ErrorbarContainer)]
    rates = sorted(float(x) for line in drawn for x in np.asarray(line.get_xdata()))
    assert np.allclose(rates, [10, 40, 41])
    assert len(axes.get_yticks()) == 2
    assert prefill.name == "phones-1"
    assert "Google Pixel 8 (zuma), over adb, tiny-smooth-q8_0: 41.0 tokens/s" in decode.description


def test_one_phone_alone_is_not_compared(inputs: Inputs) -> None:
    assert list(side_by_side(groups(inputs.sections[:1]))) == []
