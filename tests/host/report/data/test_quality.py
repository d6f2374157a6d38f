from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from scipy import stats

from smoothdroid.host.common import console
from smoothdroid.host.model.evaluate.record import Candidate, Evaluation, Model
from smoothdroid.host.report.data.numbers import with_error
from smoothdroid.host.report.data.quality import Quality, QualityRow, as_facts
from smoothdroid.host.report.plots.kld import kld_over_size
from smoothdroid.host.report.render.evaluation_files import write_evaluation_files
from smoothdroid.host.report.tables import quality as quality_tables
from smoothdroid.host.results.statistics import Interval, interval

WINDOWS, TOKENS = 8, 31
NAMES = ("plain", "_smooth|$x^ [b]", "other plain", "twin")


def evaluation(levels: tuple[float, ...] = (0.004, 0.0026, 0.00401, 0.0)) -> Evaluation:
    """Candidates at these mean KLDs, one of them another take of the first, the last the reference itself."""
    random = np.random.default_rng(0)
    loudness = random.lognormal(0, 0.5, (WINDOWS, 1))
    nll = random.exponential(2, (WINDOWS, TOKENS))
    candidates = [
        Candidate(
            model=Model(name=name, sha256=str(number), size_bytes=144_811_104, bits_per_weight=8.51),
            kld=(level * loudness * random.lognormal(0, 0.3, (WINDOWS, TOKENS))).tolist(),
            nll=(nll + level).tolist(),
            same_top=(random.random((WINDOWS, TOKENS)) > level * 10).tolist(),
        )
        for number, (name, level) in enumerate(zip(NAMES, levels, strict=True))
    ]
    return Evaluation(
        text="prose.txt",
        text_sha256="0" * 64,
        context=64,
        windows=WINDOWS,
        kernels="host-native",
        kernels_id="1" * 64,
        reference=Model(name="f32", sha256="f", size_bytes=539_845_696, bits_per_weight=32.0),
        reference_nll=nll.tolist(),
        candidates=candidates,
    )


@pytest.fixture
def found() -> list[QualityRow]:
    return Quality(evaluation()).rows


def test_the_figures_are_over_windows(found: list[QualityRow]) -> None:
    plain = evaluation().candidates[0]
    per_window = np.mean(plain.kld, axis=1).tolist()
    shown = found[1].distance
    assert shown is not None
    assert shown.kld == interval(per_window)
    assert shown.kld.mean == pytest.approx(np.mean(plain.kld))
    assert shown.kld_tail.mean == pytest.approx(np.quantile(plain.kld, 0.99))
    assert shown.kld_tail.low < shown.kld_tail.mean <= shown.kld_tail.high
    assert shown.same_top.mean == pytest.approx(np.mean(plain.same_top))
    assert found[1].perplexity.mean == pytest.approx(math.exp(np.mean(plain.nll)))
    over_tokens = stats.t.interval(0.95, WINDOWS * TOKENS - 1, shown.kld.mean, stats.sem(plain.kld, axis=None))
    assert shown.kld.high - shown.kld.low > 2 * (over_tokens[1] - over_tokens[0]), "tokens as samples: too sure"


def test_perplexity_beside_the_references_is_by_pairs(found: list[QualityRow]) -> None:
    shown = found[1].distance
    assert shown is not None
    assert shown.perplexity_ratio.mean == pytest.approx(math.exp(0.004))
    assert shown.perplexity_ratio.half < 1e-6 < found[1].perplexity.half


def test_the_reference_itself_agrees_with_itself(found: list[QualityRow]) -> None:
    twin = found[4].distance
    assert twin is not None
    assert (twin.kld.mean, twin.kld_tail.high, twin.same_top.low, twin.same_top.high) == (0, 0, 1, 1)


def test_what_differs_and_what_does_not(found: list[QualityRow]) -> None:
    reference, plain, smooth, other, _ = found
    assert [row.comparison for row in (reference, plain)] == [None, None]
    assert smooth.comparison is not None
    assert smooth.comparison.significant
    assert smooth.comparison.kld_ratio.mean == pytest.approx(0.65, abs=0.05)
    assert "no significant difference" not in str(smooth.comparison)
    assert "of plain's (95% interval 0." in str(smooth.comparison)
    assert other.comparison is not None
    assert not other.comparison.significant
    assert str(other.comparison).startswith("other plain: no significant difference; its mean KLD is ")


def test_a_baseline_that_is_the_reference_has_no_ratio() -> None:
    assert [row.comparison for row in Quality(evaluation((0.0, 0.1, 0.1, 0.2))).rows] == [None] * 5


def test_any_two_candidates_can_be_compared(found: list[QualityRow]) -> None:
    quality = Quality(evaluation())
    verdict = quality.verdict("2", "1")  # another take of the first, and the smoothed
    assert verdict.startswith("_smooth|$x^ [b]: its mean KLD is 0.6")
    assert "of other plain's (95% interval" in verdict
    assert quality.verdict("0", "1") == str(found[2].comparison)
    assert quality.verdict("3", "1") == "", "the reference's twin is at no distance"


def test_facts_are_json(found: list[QualityRow]) -> None:
    facts: Any = json.loads(json.dumps(as_facts(Quality(evaluation())), allow_nan=False))
    reference, plain, smooth, *_ = facts["models"]
    assert "mean_kld" not in reference
    assert "kld_ratio" not in plain
    assert smooth["kld_ratio"]["baseline"] == "plain"
    assert smooth["kld_ratio"]["significant"] is True
    assert smooth["kld_ratio"]["low"] < smooth["kld_ratio"]["value"] < smooth["kld_ratio"]["high"] < 1
    assert (plain["size_bytes"], plain["bits_per_weight"]) == (144_811_104, 8.51)


def test_the_terminal_shows_every_model(found: list[QualityRow]) -> None:
    with console.out.capture() as shown:
        console.out.print(quality_tables.terminal(Quality(evaluation())))
    for part in (*NAMES, "539.8", "144.8", "8.51", "reference", "8 windows of 64 tokens of prose.txt", "host-native"):
        assert part in shown.get()


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = quality_tables.markdown(Quality(evaluation())).splitlines()
    table = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(quality_tables.HEAD) + 1}
    assert len(table) == 2 + 5
    assert [line for line in lines if "no significant difference" in line]


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.0037298, 0.000312, "0.00373 ± 0.00031"),
        (97.21, 0.75, "97.21 ± 0.75"),
        (8.904, 2.61, "8.9 ± 2.6"),
        (1234.5, 99.6, "1234 ± 100"),
        (0.00379, 0.000996, "0.0038 ± 0.0010"),
        (100.0, 0.0, "100 ± 0"),
        (0.5, math.inf, "0.500 ± inf"),
    ],
)
def test_a_value_has_the_places_of_its_error(value: float, error: float, shown: str) -> None:
    assert with_error(Interval(value, value - error, value + error, 2)) == shown


def test_a_point_with_its_interval_for_each_candidate(found: list[QualityRow]) -> None:
    figure = kld_over_size(Quality(evaluation()))
    (axes,) = figure.axes
    bars = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    assert len(bars) == len(NAMES)
    for row, bar in zip(found[1:], bars, strict=True):
        assert row.distance is not None
        ((size_mb, kld),) = np.asarray(bar.lines[0].get_xydata())
        assert size_mb == pytest.approx(144.811104, rel=0.01)
        assert kld == row.distance.kld.mean
        assert axes.get_xlim()[0] < size_mb < axes.get_xlim()[1]
        assert axes.get_ylim()[0] <= kld < axes.get_ylim()[1]
        (segment,) = bar.lines[2][0].get_segments()
        assert segment[:, 1].tolist() == pytest.approx([row.distance.kld.low, row.distance.kld.high])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(NAMES)
    assert axes.get_ylabel() == "mean KLD to the reference\n(nats, 95% interval)"
    assert axes.get_ylim()[0] == 0


def test_what_lies_far_apart_is_drawn_on_a_logarithmic_scale() -> None:
    figure = kld_over_size(Quality(evaluation((0.004, 0.4, 0.4, 0.4))))
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert "0.01" in ticks
    assert not any("$" in tick for tick in ticks)  # matplotlib's own are formulas, and a $ here is a $


def test_writes_the_picture_and_the_table_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document, picture = write_evaluation_files(Quality(evaluation()), tmp_path / "new")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert f"({picture.name})" in document.read_text(encoding="utf-8")
