from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text

from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.data.rows import NOT_A_SPEED
from smoothdroid.host.report.plots.figure import ReportFigure
from smoothdroid.host.report.plots.threads import HOLLOW, LINES, draw
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.statistics import interval
from tests.host.fakes import campaign, model, phone, run_of, runs_of, write_results

NAMES = ("_plain $x^", "smooth")
PLAN = Plan(
    models=[model(name) for name in NAMES],
    threads=[1, 2, 4],
    tests=[Test(n_prompt=16, n_gen=0), Test(n_prompt=0, n_gen=8)],
    protocol=Protocol(repetitions=2, rounds=3),
)


def rates_of(name: str, threads: int, test: Test) -> list[float]:
    start = 10.0 * threads + (5 if name == "smooth" else 0) + test.n_prompt
    return [start, start * 1.01, start * 0.99]


@pytest.fixture
def data(tmp_path: Path) -> ReportData:
    """Everything measured over adb; over ssh smooth failed with 2 threads, and with 4 has a single value."""
    full, partial = campaign(PLAN, phone()), campaign(PLAN, phone(model="$FAKE$ phone", emulated=True), "ssh")
    cells = list(PLAN.cells())
    everything = [run for c in cells for run in runs_of(full, c, rates_of(c.model, c.threads, c.test))]
    write_results(tmp_path / "adb", full, everything)
    runs = []
    for cell in cells:
        rates = rates_of(cell.model, cell.threads, cell.test)
        if (cell.model, cell.threads) == ("smooth", 2):
            runs.append(run_of(partial, cell, failure="killed"))
        elif (cell.model, cell.threads) == ("smooth", 4):
            runs.append(run_of(partial, cell, rates[:1]))
        else:
            runs += runs_of(partial, cell, rates)
    write_results(tmp_path / "ssh", partial, runs)
    return load([tmp_path])


@pytest.fixture
def pictures(data: ReportData) -> list[ReportFigure]:
    return list(draw(data))


def bars(axes: Axes) -> list[list[tuple[float, float, float]]]:
    """(threads, low, high) of the error bars: of each line the believed, then the others."""
    found = []
    for line in axes.containers:
        assert isinstance(line, ErrorbarContainer)
        (segments,) = line.lines[2]
        places = np.asarray(line.lines[0].get_xdata(), dtype=float)
        ends = [
            (float(s[0][1]), float(s[1][1])) if len(s) else (float("nan"), float("nan"))
            for s in segments.get_segments()
        ]
        found.append([(float(place), *end) for place, end in zip(places, ends, strict=True)])
    return found


def axes_of(picture: ReportFigure) -> Axes:
    (axes,) = picture.figure.axes
    return axes


def labels(picture: ReportFigure) -> list[str]:
    (legend,) = picture.figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_a_panel_for_each_test_says_what_it_shows(pictures: list[ReportFigure]) -> None:
    assert [axes_of(picture).get_title() for picture in pictures] == [
        "Google Pixel 8 (zuma), over adb\nprefill, 16 tokens",
        "Google Pixel 8 (zuma), over adb\ndecode, 8 tokens",
        f"$FAKE$ phone (zuma), over ssh\nprefill, 16 tokens\n{NOT_A_SPEED}",
        f"$FAKE$ phone (zuma), over ssh\ndecode, 8 tokens\n{NOT_A_SPEED}",
    ]
    for picture in pictures:
        axes = axes_of(picture)
        assert list(axes.get_xticks()) == PLAN.threads
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("threads", "tokens/s (mean, 95% interval)")
    assert pictures[0].title == "Google Pixel 8 (zuma), over adb: prefill, 16 tokens, tokens/s over threads"


def test_the_legend_names_every_model(pictures: list[ReportFigure]) -> None:
    assert labels(pictures[0]) == [*NAMES]
    texts = pictures[0].figure.findobj(Text)
    assert not any(text.get_parse_math() for text in texts if isinstance(text, Text))


@pytest.mark.parametrize("index", range(2))
def test_error_bars_are_the_intervals(pictures: list[ReportFigure], index: int) -> None:
    for picture, test in zip(pictures[:2], PLAN.tests, strict=True):
        believed = bars(axes_of(picture))[2 * index]
        for count, (place, low, high) in zip(PLAN.threads, believed, strict=True):
            expected = interval(rates_of(NAMES[index], count, test))
            assert place == pytest.approx(count, abs=0.1)
            assert [low, high] == pytest.approx([expected.low, expected.high])


def test_a_cell_of_one_process_is_a_point_of_its_line_without_a_bar(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    one, *others = [cell for cell in PLAN.cells() if cell.model == "smooth" and cell.test.n_gen]
    runs = [
        run_of(known, one, [10.0, 10.1, 9.9]),
        *(run for cell in others for run in runs_of(known, cell, [20, 20.1])),
    ]
    write_results(tmp_path, known, runs)
    (picture,) = draw(load([tmp_path]))
    believed, _ = bars(axes_of(picture))
    assert [round(place) for place, *_ in believed] == [1, 2, 4]
    assert [bool(np.isnan(low)) for _, low, _ in believed] == [True, False, False]
    assert "1 thread: 10.0; " in picture.description


def test_what_failed_has_no_point_and_a_single_value_no_bar(pictures: list[ReportFigure]) -> None:
    *_, believed, doubtful = bars(axes_of(pictures[2]))
    assert [round(place) for place, _, _ in believed] == [1]
    ((place, low, _),) = doubtful
    assert round(place) == 4
    assert np.isnan(low)


def test_what_is_not_believed_is_hollow_apart_from_its_line_and_says_why(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    cells = [cell for cell in PLAN.cells() if cell.model == "smooth" and cell.test.n_gen]
    rates = {1: [10.0, 10.1, 9.9], 2: [20.0, 5.0, 12.0], 4: [0.5, 0.51, 0.49]}  # unstable, then collapsed
    write_results(tmp_path, known, [run for cell in cells for run in runs_of(known, cell, rates[cell.threads])])
    (picture,) = draw(load([tmp_path]))
    axes = axes_of(picture)
    believed, doubtful = bars(axes)
    assert [round(place) for place, _, _ in believed] == [1]
    assert [round(place) for place, _, _ in doubtful] == [2, 4]
    full, hollow = (line.lines[0] for line in axes.containers if isinstance(line, ErrorbarContainer))
    assert hollow.get_markerfacecolor() == "none"
    assert full.get_markerfacecolor() != "none"
    assert [text.get_text() for text in axes.texts] == ["a", "b"]
    assert labels(picture) == ["smooth", f"a: {HOLLOW}: unstable", f"b: {HOLLOW}: collapsed"]
    assert "2 threads: 12.3 (-6.31 to 31.0) (rejected: unstable)" in picture.description


def test_a_line_for_each_mask_and_a_panel_for_each_setting(tmp_path: Path) -> None:
    masks: list[tuple[int, ...]] = [(), (4, 5, 6, 7)]
    options = [Options(), Options(cache_k="q8_0")]
    plan = PLAN.model_copy(update={"models": [model("a")], "masks": masks, "options": options})
    known = campaign(plan, phone())
    write_results(tmp_path, known, [run_of(known, cell, [10.0, 10.1, 9.9]) for cell in plan.cells()])
    found = list(draw(load([tmp_path])))
    assert [axes_of(picture).get_title().splitlines()[1] for picture in found] == [
        "prefill, 16 tokens",
        "prefill, 16 tokens, cache k q8_0",
        "decode, 8 tokens",
        "decode, 8 tokens, cache k q8_0",
    ]
    # Nothing was seen of the masks.
    assert labels(found[0]) == ["a", "a, CPUs mid", f"a: {HOLLOW}: mask not held"]


def test_more_models_than_colours_get_another_panel(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"models": [model(f"m{n}") for n in range(LINES + 1)], "tests": PLAN.tests[:1]})
    known = campaign(plan, phone())
    write_results(tmp_path, known, [run_of(known, cell, [10.0, 10.1, 9.9]) for cell in plan.cells()])
    first, second = draw(load([tmp_path]))
    assert (len(labels(first)), len(labels(second))) == (LINES, 1)
    assert second.title.endswith("prefill, 16 tokens (2 of 2), tokens/s over threads")


def test_where_nothing_was_measured_nothing_is_drawn(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    write_results(tmp_path, known, [run_of(known, cell, failure="killed") for cell in PLAN.cells()])
    assert list(draw(load([tmp_path]))) == []
