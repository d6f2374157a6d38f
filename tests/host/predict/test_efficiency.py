from __future__ import annotations

import math
import random

import pytest

from benchmarks import efficiency as command
from smoothdroid.host.predict import work
from smoothdroid.host.predict.efficiency import fit, fitted, left_out, published


def test_published_speeds_are_possible() -> None:
    """A typing error in a size or a speed shows here."""
    assert len(published()) >= 6
    for point in published():
        assert 0.1 < point.decode_efficiency < 1, point
        assert 0.01 < point.prefill_efficiency < 1, point
        assert point.source
    assert {point.soc.codes[0] for point in published()} == {"SM8550", "SM8750"}


def test_a_published_size_is_that_of_the_shape() -> None:
    """llama-bench told 2.88 GiB of F16."""
    (told,) = [point.work.weights_bytes for point in published() if point.work.kind == "f16"]
    assert told == pytest.approx(work.of("qwen2.5-1.5b", "f16").weights_bytes, rel=0.003)


def test_equal_shares_are_their_own_interval() -> None:
    found = fit([0.3, 0.3, 0.3])
    assert [found.middle, found.low, found.high] == pytest.approx([0.3] * 3)


def test_the_interval_holds_one_more_draw() -> None:
    """Of draws as the fit takes them to be, 95 in 100."""
    chance, held = random.Random(0), 0  # noqa: S311 (no secret)
    for _ in range(2000):
        *seen, one_more = (math.exp(chance.gauss(-3, 0.4)) for _ in range(7))
        found = fit(seen)
        held += found.low <= one_more <= found.high
    assert 0.93 < held / 2000 < 0.97


def test_nothing_is_above_the_peak() -> None:
    assert fit([0.2, 0.9]).high == 1.0


def test_one_point_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two points"):
        fit([0.3])


def test_left_out_is_fitted_on_the_others() -> None:
    assert left_out([0.1, 0.2, 0.4], ["a", "b", "c"]) == pytest.approx(
        [0.1 / math.sqrt(0.08), 1, 0.4 / math.sqrt(0.02)]
    )
    assert left_out([0.1, 0.2, 0.4], ["a", "a", "b"]) == pytest.approx([0.25, 0.5, 0.4 / math.sqrt(0.02)])


def test_the_command_says_what_is_fitted() -> None:
    figures = {figure["name"]: figure for figure in command.figures(fitted())}
    assert figures["decode_efficiency"]["value"] == pytest.approx(fitted().decode.middle, abs=0.001)
    assert set(figures) == {
        f"{name}_{what}" for name in ("decode", "prefill") for what in ("efficiency", "left_out", "phone_left_out")
    }


def test_the_docs_are_what_the_command_writes() -> None:
    """`python -m benchmarks.efficiency --docs` mends it."""
    text = command.DOCS.read_text()
    assert command.with_tables(text) == text
    assert all(table in text for table in command.tables().values())
