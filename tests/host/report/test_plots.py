from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from host.bench.cell import Options, Protocol, Test
from host.bench.plan import Plan
from host.bench.stats import interval
from host.report import plots, write
from host.report.rows import NOT_A_SPEED, Section, load
from tests.host.fakes import campaign, model, phone, run_of, write_results

NAMES = ("_plain $x^", "smooth")
PLAN = Plan(
    models=[model(name) for name in NAMES],
    threads=[1, 2, 4],
    tests=[Test(n_prompt=16, n_gen=0), Test(n_prompt=0, n_gen=8)],
    protocol=Protocol(repetitions=3),
)


def rates_of(name: str, threads: int, test: Test) -> list[float]:
    start = 10.0 * threads + (5 if name == "smooth" else 0) + test.n_prompt
    return [start, start * 1.01, start * 0.99]


@pytest.fixture
def sections(tmp_path: Path) -> list[Section]:
    """Everything measured over adb; over ssh smooth failed with 2 threads, and with 4 has one repetition."""
    full, partial = campaign(PLAN, phone()), campaign(PLAN, phone(model="$FAKE$ phone", emulated=True), "ssh")
    cells = list(PLAN.cells())
    write_results(tmp_path / "adb", full, [run_of(full, c, rates_of(c.model, c.threads, c.test)) for c in cells])
    runs = []
    for cell in cells:
        rates = rates_of(cell.model, cell.threads, cell.test)
        if (cell.model, cell.threads) == ("smooth", 2):
            runs.append(run_of(partial, cell, failure="killed"))
        else:
            runs.append(run_of(partial, cell, rates[:1] if (cell.model, cell.threads) == ("smooth", 4) else rates))
    write_results(tmp_path / "ssh", partial, runs)
    return load([tmp_path])


@pytest.fixture
def figure(sections: list[Section]) -> Figure:
    return plots.threads(sections)


def bars(axes: Axes, name: str) -> list[tuple[float, float, float]]:
    """(threads, low, high) of the error bars of a model's line."""
    lines = [c for c in axes.containers if isinstance(c, ErrorbarContainer) and c.get_label() == name]
    found = []
    for line in lines:
        (segments,) = line.lines[2]
        places = np.asarray(line.lines[0].get_xdata(), dtype=float)
        for place, s in zip(places, segments.get_segments(), strict=True):
            low, high = (float(s[0][1]), float(s[1][1])) if len(s) else (np.nan, np.nan)
            found.append((float(place), low, high))
    return found


def test_a_panel_for_each_test_says_what_it_shows(figure: Figure) -> None:
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "Google Pixel 8 (zuma), over adb\nprefill, 16 tokens",
        "Google Pixel 8 (zuma), over adb\ndecode, 8 tokens",
        f"$FAKE$ phone (zuma), over ssh\nprefill, 16 tokens\n{NOT_A_SPEED}",
        f"$FAKE$ phone (zuma), over ssh\ndecode, 8 tokens\n{NOT_A_SPEED}",
    ]
    for axes in figure.axes:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("threads", "tokens/s (mean, 95% interval)")


def test_the_legend_names_every_model(figure: Figure) -> None:
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, plots.DOUBTFUL]
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if isinstance(text, Text))


@pytest.mark.parametrize("name", NAMES)
def test_error_bars_are_the_intervals(figure: Figure, name: str) -> None:
    for axes, test in zip(figure.axes[:2], PLAN.tests, strict=True):
        for threads, (place, low, high) in zip(PLAN.threads, bars(axes, name), strict=True):
            expected = interval(rates_of(name, threads, test))
            assert place == pytest.approx(threads, abs=0.1)
            assert [low, high] == pytest.approx([expected.low, expected.high])


def test_what_failed_has_no_point_and_one_repetition_no_bar(figure: Figure) -> None:
    axes = figure.axes[2]
    (line,) = (c for c in axes.containers if isinstance(c, ErrorbarContainer) and c.get_label() == "smooth")
    assert [round(float(x)) for x in np.asarray(line.lines[0].get_xdata())] == [1]
    (single,) = [end for end in bars(axes, plots.DOUBTFUL) if round(end[0]) == 4]
    assert np.isnan(single[1])


def test_writes_the_picture_and_the_tables_without_a_warning(sections: list[Section], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document, picture = write.write(sections, tmp_path / "new" / "report")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert f"![tokens/s over threads]({picture.name})" in document.read_text()


def test_a_campaign_where_all_failed_is_still_drawn(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    write_results(tmp_path / "r", known, [run_of(known, cell, failure="killed") for cell in PLAN.cells()])
    _, picture = write.write(load([tmp_path / "r"]), tmp_path / "report")
    assert picture.stat().st_size > 1000


def test_what_is_not_believed_is_a_cross_apart_from_its_line(tmp_path: Path) -> None:
    known = campaign(PLAN, phone())
    cells = [cell for cell in PLAN.cells() if cell.model == "smooth" and cell.test.n_gen]
    rates = {1: [10.0, 10.1, 9.9], 2: [20.0, 5.0, 12.0], 4: [0.5, 0.51, 0.49]}  # unstable, then collapsed
    write_results(tmp_path, known, [run_of(known, cell, rates[cell.threads]) for cell in cells])
    axes = plots.threads(load([tmp_path])).axes[1]
    assert [round(place) for place, _, _ in bars(axes, "smooth")] == [1]
    assert [round(place) for place, _, _ in bars(axes, plots.DOUBTFUL)] == [2, 4]


def test_a_line_for_each_mask_and_setting(tmp_path: Path) -> None:
    plan = PLAN.model_copy(
        update={"models": [model("a")], "masks": [(), (4, 5, 6, 7)], "options": [Options(), Options(cache_k="q8_0")]}
    )
    known = campaign(plan, phone())
    write_results(tmp_path, known, [run_of(known, cell, [10.0, 10.1, 9.9]) for cell in plan.cells()])
    (legend,) = plots.threads(load([tmp_path])).legends
    assert sorted(text.get_text() for text in legend.get_texts()) == [
        "a",
        "a, CPUs mid",
        "a, CPUs mid, cache k q8_0",
        "a, cache k q8_0",
        plots.DOUBTFUL,  # nothing was seen of the masks
    ]


def test_what_was_kept_up_is_drawn_over_time(tmp_path: Path) -> None:
    burst = Test(n_gen=8)
    plan = PLAN.model_copy(update={"tests": [burst, burst.model_copy(update={"sustained_s": 120})], "threads": [2]})
    known = campaign(plan, phone())
    slowing = [8 / 30, 8 / 60, 8 / 60]  # tokens/s of repetitions that take 30, 60 and 60 s
    write_results(
        tmp_path,
        known,
        [run_of(known, cell, slowing if cell.test.sustained_s else [8.0, 8.1, 7.9]) for cell in plan.cells()],
    )
    sections = load([tmp_path])
    figure = plots.over_time(sections)
    assert figure
    (axes,) = figure.axes
    assert [steps.get_label() for steps in axes.patches] == [f"{name}, 2 threads" for name in NAMES]
    steps = axes.patches[0]
    assert isinstance(steps, StepPatch)
    values, edges, _ = steps.get_data()
    assert values == pytest.approx(slowing)
    assert edges == pytest.approx([0, 0.5, 1.5, 2.5])
    assert [axes.get_title().splitlines()[1] for axes in plots.threads(sections).axes] == ["decode, 8 tokens"]
    written = [path.name for path in write.write(sections, tmp_path / "report")]
    assert written == ["report.md", "threads.png", "sustained.png"]
    row = next(row for row in sections[0].rows if row.judged.cell.test.sustained_s)
    assert row.remark.startswith("first minute 0.2, last 0.133 tokens/s (67%), over 150 s")


def test_without_a_sustained_test_there_is_no_such_picture(sections: list[Section], tmp_path: Path) -> None:
    assert plots.over_time(sections) is None
    (tmp_path / "sustained.png").write_text("of an earlier report")
    assert [path.name for path in write.write(sections, tmp_path)] == ["report.md", "threads.png"]
    assert not (tmp_path / "sustained.png").exists()
