from __future__ import annotations

import pytest

from host.bench.finding import Finding, listed


@pytest.mark.parametrize(
    ("cpus", "text"),
    [([], ""), ([3], "3"), ([0, 1], "0-1"), ([7, 0, 2, 1, 3], "0-3,7"), ({1, 3, 5, 6}, "1,3,5-6")],
)
def test_cpus_are_listed_as_the_kernel_does(cpus: list[int], text: str) -> None:
    assert listed(cpus) == text


def test_a_finding_names_check_value_and_advice() -> None:
    finding = Finding("unstable", "the interval is ±12% of the mean", "repeat more often")
    assert str(finding) == "unstable: the interval is ±12% of the mean; repeat more often"
