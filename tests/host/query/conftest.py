from __future__ import annotations

import shutil
from pathlib import Path

import pytest

MEASURED = Path(__file__).parents[2] / "data/campaign"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(folder))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with one campaign that was really measured, to change at will."""
    shutil.copytree(MEASURED, tmp_path / "results" / "measured")
    return tmp_path / "results"
