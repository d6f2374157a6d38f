from __future__ import annotations

import pytest

from host.bench.socs import SOCS, find


@pytest.mark.parametrize(
    ("told", "name", "peak_gb_s"),
    [
        ("SM8350", "Snapdragon 888", 51.2),
        ("SM8550", "Snapdragon 8 Gen 2", 67.2),
        ("SM8550-AC", "Snapdragon 8 Gen 2", 67.2),
        ("SM8550P", "Snapdragon 8 Gen 2", 67.2),
        ("pineapple", "Snapdragon 8 Gen 3", 76.8),
        ("sun", "Snapdragon 8 Elite", 84.8),
        ("Tensor", "Google Tensor (G1)", 51.2),
        ("Tensor G5", "Google Tensor G5", 68.3),
        ("MT6989W", "Dimensity 9300", 76.8),
        ("mt6983", "Dimensity 9000", 60.0),
        ("s5e9840", "Exynos 2100", 51.2),
    ],
)
def test_what_phones_call_their_soc_is_found(told: str, name: str, peak_gb_s: float) -> None:
    soc = find(told)
    assert soc is not None
    assert (soc.name, soc.peak_gb_s) == (name, peak_gb_s)


@pytest.mark.parametrize("told", ["", "zuma", "Tensor G3", "SM8850", "SM85", "exynos5", "x86_64"])
def test_what_no_source_tells_is_not_guessed(told: str) -> None:
    assert find(told) is None


def test_every_row_has_a_source_and_a_plausible_peak() -> None:
    codes = [line for line in SOCS.read_text().splitlines() if line.startswith("codes")]
    assert len(codes) > 15
    for line in codes:
        for code in line.split('"')[1::2]:
            soc = find(code)
            assert soc is not None
            assert soc.source
            assert 10 < soc.peak_gb_s < 100
