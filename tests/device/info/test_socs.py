from __future__ import annotations

import pytest

from smoothdroid.device.info.socs import SOCS, Core, CoresOfASoc, Soc, everything, find, named


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
            assert soc.dram_source
            assert 10 < soc.peak_gb_s < 100


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("SM8550-AC", "Snapdragon 8 Gen 2"),
        ("snapdragon 8 gen 2", "Snapdragon 8 Gen 2"),
        ("8 Gen 2", "Snapdragon 8 Gen 2"),
        ("888", "Snapdragon 888"),
        ("9300", "Dimensity 9300"),
    ],
)
def test_what_people_call_a_soc_is_found(asked: str, name: str) -> None:
    soc = named(asked)
    assert soc is not None
    assert soc.name == name


@pytest.mark.parametrize("asked", ["", "2", "Snapdragon", "8 Gen 9", "G2 "])
def test_what_could_be_several_or_none_is_not_guessed(asked: str) -> None:
    assert (named(asked) is None) == (asked != "G2 ")


def test_cores_have_a_source_wherever_they_are_told() -> None:
    assert sum(bool(soc.clusters) for soc in everything()) >= 12
    for soc in everything():
        assert bool(soc.clusters) == bool(soc.clusters_source)
        assert all(part.core.source for part in soc.clusters)
        assert not soc.clusters or 6 <= sum(part.cores for part in soc.clusters) <= 10


def test_the_ceiling_of_decode_is_the_memory() -> None:
    soc = find("SM8350")
    assert soc is not None
    assert soc.decode_ceiling(5_120_000_000) == pytest.approx(10)
    assert soc.decode_ceiling(63_000_000) is None, "the caches may hold it"


def test_the_operations_of_a_soc_are_those_of_its_cores_with_the_least_ones_instruction() -> None:
    soc = find("SM8350")
    assert soc is not None
    # One X1 with four pipes, three A78 with two, four A55 with one; SDOT: 16 multiplications and as many additions.
    cycles = 1 * 2.842e9 * 4 + 3 * 2.419e9 * 2 + 4 * 1.805e9 * 1
    assert soc.operations_per_s("int8") == pytest.approx(cycles * 32)
    assert soc.operations_per_s("f16") == pytest.approx(cycles * 16)
    newer, unknown = find("SM8550"), find("SM8475")
    assert newer is not None
    assert unknown is not None
    assert newer.operations_per_s("int8") == pytest.approx(2 * 2 * (newer.operations_per_s("f16") or 0))
    assert unknown.operations_per_s("int8") is None


def test_one_core_without_an_instruction_keeps_all_from_it() -> None:
    older, newer = (Core(name, 2, int8, "made up") for name, int8 in (("older", "dotprod"), ("newer", "i8mm")))
    clusters = (CoresOfASoc(newer, 4, 2.0), CoresOfASoc(older, 4, 1.0))
    soc = Soc("made up", ("x",), 50.0, "", "", clusters, "made up")
    assert soc.operations_per_s("int8") == pytest.approx((4 * 2.0e9 + 4 * 1.0e9) * 2 * 32)
