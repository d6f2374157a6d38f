"""What stands in for a phone, a model and llama-bench where only this side of the wire is tested."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.info.battery import Battery
from smoothdroid.device.info.cpu import Cluster
from smoothdroid.device.info.phone import Phone
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.target import Completed, OnOutput, Progress
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp import source
from smoothdroid.host.llamacpp.compile import BuildManifest
from smoothdroid.host.llamacpp.tool_output import BenchRecord
from smoothdroid.host.results.cell import Cell, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Campaign, Run, append, write_campaign

BUILD_ID = "0123456789abcdef"

# What llama-bench would print, and how it may go wrong: dying of an instruction, or measuring something else.
LLAMA_BENCH = """#!/bin/sh
echo "$*" >>"${0%/*}/asked"
while [ $# -gt 0 ]; do
  [ "$1" = -v ] && shift && continue
  case $1 in -d) d=$2 ;; -b) b=$2 ;; -ub) ub=$2 ;; -t) t=$2 ;; -p) p=$2 ;; -n) n=$2 ;; -r) r=$2 ;; esac
  shift 2
done
[ "$FAKE_DIES_AT" = "$t" ] && kill -ILL $$
# Of a repetition that runs at $1.5 tokens a second. Android's shell counts in 32 bits.
ns() { echo $((2 * (p + n) * (1000000000 / (2 * $1 + 1)))); }
samples_ns=$(ns $((t * 10))) samples_ts=$((t * 10)).5
while [ $((r -= 1)) -gt 0 ]; do
  samples_ns=$samples_ns,$(ns $((t * 10 + r))) samples_ts=$samples_ts,$((t * 10 + r)).5
done
echo 'a line of the log' >&2
cat <<END
{"build_commit": "fake", "cpu_info": "none", "model_type": "tiny", "model_size": 1, "model_n_params": 1, \
"n_batch": ${b:-1}, "n_ubatch": ${ub:-1}, "n_threads": ${FAKE_THREADS:-$t}, "n_prompt": $p, "n_gen": $n, \
"n_depth": ${d:-0}, "samples_ns": [$samples_ns], "samples_ts": [$samples_ts]}
END
"""

LLAMA_COMPLETION = """#!/bin/sh
echo 'Hello [/there] :100:'
echo 'prompt eval time = 10.00 ms / 5 tokens ( 2.00 ms per token, 500.00 tokens per second)' |
  sed 's/^/common_perf_print: /' >&2
echo 'common_perf_print:        eval time = 10.00 ms / 2 runs ( 5.00 ms per token, 200.00 tokens per second)' >&2
"""


def phone(**changes: Any) -> Phone:
    """A Pixel 8, or what `changes` make of it."""
    known = Phone(
        id="0badc0ffee00",
        model="Google Pixel 8",
        soc="zuma",
        android="16",
        kernel="6.1.99",
        abi="arm64-v8a",
        features=["asimd", "asimddp", "asimdhp", "fphp", "i8mm"],
        clusters=[
            Cluster(cpus=[8], name="Cortex-X3", max_mhz=2914),
            Cluster(cpus=[4, 5, 6, 7], name="Cortex-A715", max_mhz=2367),
            Cluster(cpus=[0, 1, 2, 3], name="Cortex-A510", max_mhz=1704),
        ],
        cpu_count=9,
        memory_mb=7500,
        available_mb=4000,
        free_mb=50_000,
        celsius={"BIG": 31.0},
        battery=Battery(level_percent=90),
        emulated=False,
    )
    return known.model_copy(update=changes)


def write_gguf(path: Path, fill: float = 0.0, architecture: str = "llama") -> Path:
    """A GGUF of two small tensors; another `fill` is another model."""
    writer = GGUFWriter(path, architecture)
    writer.add_uint32("llama.block_count", 1)
    writer.add_array("tokenizer.ggml.tokens", ["a", "bcd"])
    writer.add_tensor("embedding", np.full((4, 32), fill, np.float32))
    writer.add_tensor("norm", np.full(32, fill, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def model(name: str, folder: Path = Path("models"), sha256: str | None = None) -> Artifact:
    """A model as a plan knows it; there need be no file."""
    return Artifact(
        path=folder / f"{name}.gguf",
        name=name,
        sha256=sha256 or name.encode().hex().ljust(64, "0"),
        size_bytes=800,
        architecture="llama",
        parameters=160,
        bits_per_weight=8.5,
        manifest=None,
    )


def record(threads: int, test: Test, rates: Sequence[float]) -> BenchRecord:
    """What llama-bench reports of one test."""
    return BenchRecord(
        build_commit="fake",
        cpu_info="none",
        model_type="tiny",
        model_size=1,
        model_n_params=1,
        n_batch=1,
        n_ubatch=1,
        n_threads=threads,
        n_prompt=test.n_prompt,
        n_gen=test.n_gen,
        samples_ns=[round(1e9 * (test.n_prompt + test.n_gen) / rate) if rate > 0 else 1 for rate in rates],
        samples_ts=list(rates),
    )


def campaign(plan: Plan, on: Phone, transport: str = "adb") -> Campaign:
    """The record of a campaign that begins."""
    return Campaign(
        id="cafe0000",
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        smoothdroid="0.1.0, protocol 1",
        target=f"{transport}:SERIAL",
        transport=transport,
        phone=on,
        build_id=BUILD_ID,
        build_isa="i8mm",
        build_commit="0c1e57098",
        build_tools={"llama-bench": "0" * 64},
        plan=plan,
    )


def run_of(known: Campaign, cell: Cell, rates: Sequence[float] = (), failure: str | None = None) -> Run:
    """A cell of a campaign, measured or failed."""
    return Run(
        fingerprint=cell.fingerprint(known.phone.id, known.transport, known.build_id),
        cell=cell,
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        wall_s=1.5,
        failure=failure,
        tokens_per_s=list(rates),
        bench=record(cell.threads, cell.test, rates) if rates else None,
    )


def runs_of(known: Campaign, cell: Cell, rates: Sequence[float]) -> list[Run]:
    """A cell of a campaign, measured in a process for each rate, which both of its repetitions have."""
    return [run_of(known, cell, [rate] * 2).model_copy(update={"round": n}) for n, rate in enumerate(rates)]


def write_results(folder: Path, known: Campaign, runs: Sequence[Run]) -> Path:
    """A campaign's folder, as `smoothdroid bench` leaves it."""
    write_campaign(folder, known)
    for run in runs:
        append(folder, run)
    return folder


def write_build(cache: Path) -> Path:
    """A finished build for this machine in the cache, its tools played by shell scripts."""
    folder = cache / "builds" / f"host-native-{BUILD_ID}"
    (folder / "bin").mkdir(parents=True)
    tools = {"llama-bench": LLAMA_BENCH, "llama-completion": LLAMA_COMPLETION}
    for name, text in tools.items():
        (folder / "bin" / name).write_text(text)
    manifest = BuildManifest(
        id=BUILD_ID,
        abi="host",
        isa="native",
        needs=[],
        source=source.pinned().id,
        commit=source.PINNED_COMMIT,
        toolchain="fake",
        tools={name: sha256_of(folder / "bin" / name) for name in tools},
    )
    (folder / "build.json").write_text(manifest.model_dump_json())
    return folder


Answer = Callable[[Sequence[str]], Completed]


class ReplayTarget:
    """A phone whose files are real, in a folder of this machine, and whose llama.cpp is played by `answer`."""

    def __init__(self, root: Path, answer: Answer, name: str = "adb:REPLAY") -> None:
        self.kind = name.partition(":")[0]
        self.name = name
        self.root = str(root)
        self.answer = answer
        self.measured: list[list[str]] = []
        self.pushed: list[str] = []
        self._local = LocalTarget()

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
        on_output: OnOutput | None = None,
        tied: bool = False,
    ) -> Completed:
        if not Path(argv[0]).name.startswith("llama-"):
            return self._local.run(argv, env=env, timeout_s=timeout_s, check=check, on_output=on_output, tied=tied)
        self.measured.append(list(argv))
        done = self.answer(argv)
        if check and done.exit_status != 0:
            raise CommandFailed(self.name, argv, done.exit_status, done.stdout, done.stderr)
        if on_output:
            on_output(done.stdout)
        return done

    def push(self, source: Path, remote: str, *, mode: int = 0o644, progress: Progress | None = None) -> None:
        self.pushed.append(source.name)
        self._local.push(source, remote, mode=mode, progress=progress)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        self.pushed.append(source.name)
        self._local.append(source, remote, start, progress=progress)

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        self._local.pull(remote, destination, progress=progress)

    def close(self) -> None:
        self._local.close()


class FolderPhone(LocalTarget):
    """A phone that is a folder of this machine; what runs there runs here, for real."""

    def __init__(self, root: Path, name: str = "adb:FOLDER") -> None:
        self.kind = name.partition(":")[0]
        self.name = name
        self.root = str(root)
        self.pushed: list[str] = []

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        self.pushed.append(source.name)
        super().append(source, remote, start, progress=progress)

    def measured(self) -> list[dict[str, str]]:
        """The options that llama-bench got, each time that it ran."""
        asked = [
            line.removesuffix(" -v").split()
            for log in Path(self.root).glob("store/*/asked")
            for line in log.read_text().splitlines()
        ]
        return [dict(zip(words[::2], words[1::2], strict=True)) for words in asked]


def llama_bench(before: str = "", **changes: Any) -> str:
    """The script that plays llama-bench, doing something `before`, or with `changes` to its record."""
    options_read = '[ "$FAKE_DIES_AT"'
    assert options_read in LLAMA_BENCH
    script = LLAMA_BENCH.replace(options_read, f"{before}\n{options_read}")
    # Of a name that stands twice in an object, JSON's readers take the last.
    more = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in changes.items())
    return script.replace("[$samples_ts]}", f"[$samples_ts]{more}}}")
