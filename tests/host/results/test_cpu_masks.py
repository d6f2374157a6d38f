from __future__ import annotations

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.cpu import Cluster
from smoothdroid.host.results.cpu_masks import cpus_of, label, listed, names
from tests.host.fakes import phone

PIXEL = phone().clusters
ELITE = [
    Cluster(cpus=[6, 7], name="Oryon L", max_mhz=4320),
    Cluster(cpus=[0, 1, 2, 3, 4, 5], name="Oryon M", max_mhz=3530),
]
GEN_3 = [
    Cluster(cpus=[7], name="Cortex-X4", max_mhz=3300),
    Cluster(cpus=[2, 3, 4], name="Cortex-A720", max_mhz=3150),
    Cluster(cpus=[5, 6], name="Cortex-A720", max_mhz=2960),
    Cluster(cpus=[0, 1], name="Cortex-A520", max_mhz=2260),
]
ALIKE = [Cluster(cpus=[0, 1, 2, 3], name="unknown", max_mhz=None)]


@pytest.mark.parametrize(
    ("clusters", "name", "cpus"),
    [
        (PIXEL, "big", [8]),
        (PIXEL, "mid", [4, 5, 6, 7]),
        (PIXEL, "little", [0, 1, 2, 3]),
        (PIXEL, "big+mid", [4, 5, 6, 7, 8]),
        (PIXEL, " mid + big ", [4, 5, 6, 7, 8]),
        (PIXEL, "all", list(range(9))),
        (PIXEL, "any", []),
        (PIXEL, "0-2,8", [0, 1, 2, 8]),
        (PIXEL, "8,0,8", [0, 8]),
        (GEN_3, "big", [7]),
        (GEN_3, "mid", [2, 3, 4, 5, 6]),
        (ELITE, "little", [0, 1, 2, 3, 4, 5]),
        (ALIKE, "all", [0, 1, 2, 3]),
    ],
)
def test_a_name_is_the_cpus_of_this_phone(clusters: list[Cluster], name: str, cpus: list[int]) -> None:
    assert cpus_of(name, clusters) == cpus


@pytest.mark.parametrize(
    ("clusters", "name", "says"),
    [
        (ELITE, "mid", r"has no `mid`. It has big \(2 CPUs\), little \(6 CPUs\), all \(8 CPUs\); or write CPUs"),
        (ALIKE, "big", r"has no `big`. It has all \(4 CPUs\)"),
        (PIXEL, "huge", "has no `huge`"),
        (PIXEL, "big+", "has no ``"),
        (PIXEL, "", "has no ``"),
        (PIXEL, "big,mid", "has no `big,mid`"),
        (PIXEL, "9", "has no CPU 9, but 9 from 0 on"),
        (PIXEL, "0-9999", "has no CPU 9,"),
        (PIXEL, "3-1", "the list is empty"),
        (PIXEL, "0x1f0", "has no `0x1f0`"),
    ],
)
def test_cpus_that_the_phone_has_not_are_refused(clusters: list[Cluster], name: str, says: str) -> None:
    with pytest.raises(BadInput, match=f"--cpus .*{says}"):
        cpus_of(name, clusters)


@pytest.mark.parametrize("clusters", [PIXEL, GEN_3, ELITE, ALIKE])
def test_a_mask_is_called_as_it_was_asked_for(clusters: list[Cluster]) -> None:
    for name in (*names(clusters), "any"):
        assert label(cpus_of(name, clusters), clusters) == name


def test_a_mask_without_a_name_is_its_numbers() -> None:
    assert label([4, 5], PIXEL) == "4-5"
    assert label([4, 5, 6, 7, 8], PIXEL) == "big+mid"
    assert label([0, 8], PIXEL) == "0,8"


@pytest.mark.parametrize(
    ("cpus", "text"),
    [([], ""), ([3], "3"), ([0, 1], "0-1"), ([7, 0, 2, 1, 3], "0-3,7"), ({1, 3, 5, 6}, "1,3,5-6")],
)
def test_cpus_are_listed_as_the_kernel_does(cpus: list[int], text: str) -> None:
    assert listed(cpus) == text
