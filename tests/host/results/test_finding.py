from __future__ import annotations

from smoothdroid.host.results.finding import Finding


def test_a_finding_names_check_value_and_advice() -> None:
    finding = Finding("unstable", "the interval is ±12% of the mean", "repeat more often")
    assert str(finding) == "unstable: the interval is ±12% of the mean; repeat more often"
