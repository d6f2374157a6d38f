"""The table of llama.cpp settings: what one more row changes, and that a row is all it takes."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.host.llamacpp.kernel_log import Kernels
from smoothdroid.host.llamacpp.settings import SETTINGS, Options, known_keys
from tests.host.tiny_gguf import write_llama

ROOT = Path(__file__).parents[3]
SETTINGS_FILE = "host/llamacpp/settings.py"
BEFORE = "    mmap: Annotated["
ROW = """    gpu_layers: Annotated[
        int | None,
        Setting(flag="-ngl", key="n_gpu_layers", help="Layers on the GPU.", meaning="layers on the GPU", least=0),
    ] = None
"""


class Changed:
    """A copy of smoothdroid whose table has one more row, run as a user runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("host", "device", "smoothdroid"):
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "android-toolchain.cmake", folder)
        table = folder / SETTINGS_FILE
        text = table.read_text(encoding="utf-8")
        assert text.count(BEFORE) == 1
        table.write_text(text.replace(BEFORE, ROW + BEFORE), encoding="utf-8")

    def __call__(self, *words: str | Path, status: int = 0) -> str:
        """Run a command. Returns its standard output, or what it says on standard error when it has to fail."""
        done = subprocess.run(
            [sys.executable, "-m", "smoothdroid", *map(str, words)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "200", "NO_COLOR": "1"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    return Changed(tmp_path)


def test_a_new_setting_is_one_row(changed: Changed, tmp_path: Path) -> None:
    model, results, report = write_llama(tmp_path / "tiny.gguf"), tmp_path / "results", tmp_path / "report"
    assert "Layers on the GPU." in changed("bench", "--help")
    assert "--gpu-layers" in changed("bench", model, "--on", "local:", "-ngl", "many", status=2)

    protocol = ("-p", "0", "-n", "4", "-t", "1", "-r", "2", "--rounds", "1")
    measured = json.loads(changed("bench", model, "--on", "local:", "-ngl", "2,3", *protocol, "-o", results, "--json"))
    runs: list[dict[str, Any]] = measured["runs"]
    assert {(run["cell"]["options"]["gpu_layers"], run["bench"]["n_gpu_layers"]) for run in runs} == {(2, 2), (3, 3)}

    asked = "SELECT n_gpu_layers, settings FROM cells ORDER BY 1"
    rows = json.loads(changed("query", asked, results, "--json"))
    assert [(row["n_gpu_layers"], row["settings"]) for row in rows] == [(2, "gpu layers 2"), (3, "gpu layers 3")]
    assert "gpu-layers" in changed("compare", results, "--by", "gpu-layers=2,4", status=2)

    changed("report", results, "-o", report)
    (cells,) = report.rglob("cells.csv")
    lines = list(csv.DictReader(cells.read_text(encoding="utf-8").splitlines()))
    assert sorted(line["n_gpu_layers"] for line in lines) == ["2", "3"]
    commands = [line for line in (report / "report.md").read_text(encoding="utf-8").splitlines() if "bench" in line]
    words = next(shlex.split(line) for line in commands if "--gpu-layers" in line)
    assert words[words.index("--gpu-layers") + 1] == "2,3"


def test_every_setting_has_an_option_a_key_and_a_column_of_its_own() -> None:
    for each in ("name", "option", "flag", "key", "column"):
        values = [getattr(setting, each) for setting in SETTINGS]
        assert all(values)
        assert len(set(values)) == len(values)


def test_only_what_differs_from_its_default_is_passed_on() -> None:
    options = Options(depth=0, ubatch=128, mmap="off", flash_attention="auto")
    words = [word for setting, value in options.changed() for word in setting.bench_arguments(value)]
    assert words == ["-ub", "128", "-fa", "auto", "-lm", "none"]
    words = [word for setting, value in options.changed() for word in setting.completion_arguments(value)]
    assert words == ["-ub", "128", "-fa", "auto", "--no-mmap"]


def test_a_strange_value_in_a_record_is_refused() -> None:
    assert known_keys({"n_depth": 3, "unknown": []}) == {"n_depth": 3}
    with pytest.raises(ValueError, match="`n_depth` is neither a number nor a text"):
        known_keys({"n_depth": [3]})
    assert Kernels().flash_attention is None
