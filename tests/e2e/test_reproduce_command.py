"""The command of a report that measures a campaign again, run on this machine with the real llama-bench."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source
from smoothdroid.host.report.data import reproduce
from smoothdroid.host.results.record import read_campaign, read_runs
from tests.e2e.conftest import SMOOTHDROID
from tests.host.tiny_gguf import write_llama


def checkout_with_a_build(folder: Path, cache: Path, llama_bench: Path) -> Path:
    """A llama.cpp checkout, and a build of it in a cache of its own; the programs are the pinned llama.cpp's."""
    for name in ("CMakeLists.txt", "ggml/CMakeLists.txt", "tools/llama-bench/CMakeLists.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("# a checkout\n", encoding="utf-8")
    built = llama_bench.parents[1]
    there = Path(shutil.copytree(built, cache / "builds" / built.name))
    manifest = compiler.BuildManifest.model_validate_json((there / compiler.MANIFEST).read_bytes())
    of_checkout = manifest.model_copy(update={"source": source.checkout(folder).id, "id": "0123456789abcdef"})
    (there / compiler.MANIFEST).write_text(of_checkout.model_dump_json(), encoding="utf-8")
    return folder


def test_the_command_measures_the_same_cells(tmp_path: Path, llama_bench: Path) -> None:
    cache, results = tmp_path / "cache", [tmp_path / "first", tmp_path / "second"]
    checkout = checkout_with_a_build(tmp_path / "a checkout", cache, llama_bench)

    def bench(*words: str | Path, output: Path) -> tuple[str, set[str]]:
        done = subprocess.run(
            [SMOOTHDROID, "bench", *map(str, words), "-o", str(output), "--json"],
            env={**os.environ, "SMOOTHDROID_CACHE": str(cache)},
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        folder = Path(json.loads(done.stdout)["folder"])
        runs = read_runs(folder)
        assert all(run.failure is None for run in runs)
        return reproduce.bench(read_campaign(folder)), {run.fingerprint for run in runs}

    plan = ("-p", "8", "-n", "3,4", "-ub", "64,128", "-fa", "on", "-t", "1", "-r", "2", "--rounds", "1")
    requested = ("--on", "local:", "--isa", "native", "--llama-cpp", checkout, "--force")
    command, measured = bench(write_llama(tmp_path / "a model.gguf"), *plan, *requested, output=results[0])
    words = shlex.split(command)
    assert words[-5:] == ["--isa", "native", "--llama-cpp", str(checkout), "--force"]
    again, measured_again = bench(*words[2:], output=results[1])
    assert len(measured) == 6
    assert (again, measured_again) == (command, measured)
