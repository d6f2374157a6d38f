"""The simulated phones of benchmarks/farm.py answer all that a campaign asks of a phone today."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.farm import Lab, Run


@pytest.mark.parametrize("share", [False, True])
def test_drawn_phones_are_measured(tmp_path: Path, share: bool) -> None:
    """`timed` refuses a run in which a phone, a cell or a count went wrong."""
    run = Run(Lab(seed=0, phones=2), {"threads": "1,2", "prompt": "16", "generate": "8"}, tmp_path / "farm")
    assert run.timed(0.02, share=share) > 0
    assert len(list((tmp_path / "farm/results").glob("*/runs.jsonl"))) == 2
