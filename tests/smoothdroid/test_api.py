"""The Python API on real parts: this machine as the phone, llama.cpp as built for it, results of real runs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import smoothdroid
from smoothdroid.host.query.tables import CELLS
from tests.host.tiny_gguf import Q8_0, write_llama

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests/data/results/schema-3"


def run(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, smoothdroid; print(*(m for m in sys.modules if m.startswith('smoothdroid.') or m == 'torch'))"
    assert run("-c", code).split() == []


def test_reading_results_needs_neither_torch_nor_a_phone() -> None:
    code = f"import sys, smoothdroid; smoothdroid.read({str(RESULTS)!r}); print('torch' in sys.modules)"
    assert run("-c", code).split() == ["False"]


def test_every_name_it_offers_is_there() -> None:
    assert {"prepare", "build", "phones", "bench", "read", "compare"} <= set(smoothdroid.__all__)
    for name in smoothdroid.__all__:
        assert getattr(smoothdroid, name).__doc__
        assert name in dir(smoothdroid)
    with pytest.raises(AttributeError, match="has no attribute 'measure'"):
        smoothdroid.measure  # noqa: B018


def test_the_module_is_the_command() -> None:
    assert run("-m", "smoothdroid", "--version").startswith("smoothdroid ")


def test_a_cells_fields_are_columns_of_the_table() -> None:
    columns = {column.name for column in CELLS.shown}
    assert {field.name for field in dataclasses.fields(smoothdroid.CellResult)} <= columns


def test_results_are_read_as_records() -> None:
    cells = smoothdroid.read(RESULTS)
    assert cells
    assert all(cell.valid == (cell.tokens_per_s is not None) for cell in cells)
    assert all(cell.campaign == str(RESULTS) and cell.transport in ("adb", "ssh", "local") for cell in cells)


def test_results_are_queried() -> None:
    rows = smoothdroid.query("SELECT model, count(*) AS n FROM cells GROUP BY ALL", RESULTS)
    assert sum(row["n"] for row in rows) == len(smoothdroid.read(RESULTS))


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(smoothdroid.SmoothdroidError, match="holds no results"):
        smoothdroid.read(tmp_path)


def test_this_machine_is_a_phone_that_gets_the_build_for_it() -> None:
    phone = smoothdroid.phones("local:")["local:"]
    (build,) = smoothdroid.build("local:")
    assert phone.cpu_count > 0
    assert build.manifest.abi == "host"
    assert build.tool("llama-bench").exists()


def test_a_build_is_for_a_phone_or_an_abi() -> None:
    with pytest.raises(smoothdroid.SmoothdroidError, match="name a phone or an ABI"):
        smoothdroid.build()


def test_a_checkpoint_is_prepared(tmp_path: Path) -> None:
    from tests.host.model.tiny_models import PROSE, write_tiny_model  # imports torch

    model = write_tiny_model(tmp_path / "tiny", "LlamaForCausalLM")
    text = tmp_path / "text.txt"
    text.write_text(PROSE * 100, encoding="utf-8")
    settings = smoothdroid.PrepareSettings(n_samples=4, seq_len=32, calib=text)
    (prepared,) = smoothdroid.prepare(model, tmp_path / "out", settings)
    assert prepared.path.name == "tiny-smooth-q8_0.gguf"
    assert not prepared.reused


def test_two_models_are_measured_and_compared(tmp_path: Path) -> None:
    smoothdroid.build("local:")
    plain, smooth = tmp_path / "plain.gguf", tmp_path / "smooth.gguf"
    write_llama(plain, Q8_0)
    write_llama(smooth, Q8_0, letters="▁zyxwvutsrqponmlkjihgfedcba.,")
    for _ in range(2):  # the second call measures nothing again
        cells = smoothdroid.bench(
            [plain, smooth], on="local:", output=tmp_path / "results", threads=1, prompt=8, generate=0, rounds=2
        )
        assert [(cell.model, cell.test, cell.processes) for cell in cells] == [
            ("plain", "pp8", 2),
            ("smooth", "pp8", 2),
        ]
    assert smoothdroid.read(tmp_path / "results") == cells
    comparison = smoothdroid.compare(tmp_path / "results", by="model=plain,smooth")
    (pair,) = comparison.pairs
    assert pair.difference.answer in ("faster", "slower", "not significant")
    page, *_ = smoothdroid.report(tmp_path / "results", tmp_path / "report")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
