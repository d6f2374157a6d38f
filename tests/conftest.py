"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def llama_cpp() -> Path:
    """The source tree of llama.cpp."""
    return Path(os.environ["SMOOTHDROID_LLAMA_CPP"])
