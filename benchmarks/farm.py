"""The overhead of a farm: 100 simulated phones of unequal speeds that share a controller.

    python -m benchmarks.farm [--phones 100] [--slowest-s 90] [--bound-s 200] [--seed 0]

A simulated phone is a Target that answers with drawn times (benchmarks/drawn.py); all else is what `smoothdroid bench`
runs: sessions, records, samples, the pool that shares. A phone's speed is drawn between 1 and 4, a cell's time from
what it asks for, within a factor of about 1.5 of it.

Last come the figures, a JSON object a line. `makespan`: the time until the last phone is done over the slowest phone's
own work. `makespan_shared`: with --share, over the lower bound: all work over all speeds, or the longest piece on the
fastest phone. Each is one run, so low and high are the value. `cpu_per_phone` is the controller's processor time over
phones and seconds, `memory_per_phone` what its resident memory grew by for each phone, both of the first run.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from benchmarks.drawn import DrawnPhone
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.info.phone import DESCRIBE, Phone
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.request import Request
from smoothdroid.host.farm.bench_call import BenchCall
from smoothdroid.host.farm.coordinator import Coordinator
from smoothdroid.host.farm.member import Member
from smoothdroid.host.farm.progress_table import ProgressRow

FASTEST = 4.0  # of phones in one lab: an 8 Elite against a phone of 2018
SPREAD = 0.2  # of a cell's drawn time, in the logarithm
EACH = {"threads": "1,2", "prompt": "256,512", "generate": "64,128"}
SHARED = {"threads": "1,2", "prompt": "32-512+32", "generate": "8-128+8", "depth": "0-1920+128"}


def _binaries(tool: Path, target: Target, phone: Phone) -> Binaries:
    return Binaries("0123456789abcdef", "i8mm", "drawn", {"llama-bench": (tool, sha256_of(tool))})


@dataclass(frozen=True)
class Lab:
    """Random speeds of phones, and random times of cells on a phone of speed 1."""

    seed: int
    phones: int

    def speed(self, number: int) -> float:
        """Return the speed of a phone."""
        return math.exp(random.Random(f"{self.seed} {number}").uniform(0, math.log(FASTEST)))  # noqa: S311

    def work(self, options: Mapping[str, str]) -> float:
        """Return the duration of a cell at speed 1."""
        asked = " ".join(options.get(name, "0") for name in ("-t", "-p", "-n", "-d"))
        threads, prompt, generate, depth = map(int, asked.split())
        tokens = (prompt + depth) / 8 + generate
        return tokens / threads * math.exp(random.Random(f"{self.seed} {asked}").gauss(0, SPREAD))  # noqa: S311

    @property
    def speeds(self) -> list[float]:
        """The speeds of all phones."""
        return [self.speed(number) for number in range(self.phones)]


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phones", type=int, default=100)
    parser.add_argument("--slowest-s", type=float, default=90.0, help="the slowest phone's own work")
    parser.add_argument("--bound-s", type=float, default=200.0, help="the lower bound of the shared plan")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lab = Lab(arguments.seed, arguments.phones)
    with tempfile.TemporaryDirectory() as folder:
        each = Run(lab, EACH, Path(folder, "each"))
        slowest_s = sum(each.works) / min(lab.speeds)
        took_s = each.timed(arguments.slowest_s / slowest_s, share=False)
        _figure("makespan", took_s / arguments.slowest_s, "ratio", "the slowest phone's own work")
        shared = Run(lab, SHARED, Path(folder, "shared"))
        bound_s = max(sum(shared.works) / sum(lab.speeds), max(shared.works) / max(lab.speeds))
        shared_s = shared.timed(arguments.bound_s / bound_s, share=True)
        _figure("makespan_shared", shared_s / arguments.bound_s, "ratio", "the lower bound")
    _figure("cpu_per_phone", each.cpu_s / took_s / lab.phones, "share of one core", "no phone")
    _figure("memory_per_phone", each.grew_mb / lab.phones, "MB", "no phone")


class Run:
    """One plan that runs on all phones."""

    def __init__(self, lab: Lab, words: dict[str, str], folder: Path) -> None:
        """Prepare a plan of these options, with its own folder."""
        self._lab, self._folder = lab, folder
        folder.mkdir(parents=True)
        model = str(_model(folder / "tiny.gguf"))
        self._request = Request(models=[model], repetitions=1, rounds=1, **words)  # type: ignore[arg-type]
        self.works = [lab.work(options) for options in _all_options(words)]
        self.cpu_s = self.grew_mb = 0.0

    def timed(self, second: float, *, share: bool) -> float:
        """Measure, and return the seconds that it took. `second` is the duration of a unit of work at speed 1."""
        described = (
            LocalTarget().run(["sh", "-c", DESCRIBE.read_text(encoding="utf-8"), "describe", str(self._folder)]).stdout
        )
        work = self._lab.work
        phones = [
            DrawnPhone(f"P{number}", described, partial(_seconds, work, second / speed))
            for number, speed in enumerate(self._lab.speeds)
        ]
        tool = self._folder / "llama-bench"
        tool.write_text("drawn", encoding="utf-8")
        members = [Member(phone.name, phone.name, partial(_itself, phone)) for phone in phones]
        call = BenchCall(self._request, self._folder / "results", partial(_binaries, tool), share=share, force=True)
        coordinator = Coordinator(members, [ProgressRow(phone.name) for phone in phones], call)
        before, cpu_s, rss_mb = time.monotonic(), time.process_time(), _rss_mb()
        results = coordinator.run()
        took_s = time.monotonic() - before
        self.cpu_s, self.grew_mb = time.process_time() - cpu_s, _rss_mb() - rss_mb
        runs = [run for result in results for run in result.runs]
        if any(result.error for result in results) or any(run.failure for run in runs):
            raise SystemExit("not all was measured")
        expected = len(self.works) * (1 if share else len(phones))
        if len(runs) != expected:
            raise SystemExit(f"{len(runs)} runs where {expected} were asked for")
        print(f"{len(phones)} phones, {len(runs)} runs: {took_s:.1f} s, {self.cpu_s:.1f} s of CPU", flush=True)
        return took_s


def _all_options(words: Mapping[str, str]) -> list[dict[str, str]]:
    """Return llama-bench's options for every cell."""
    from smoothdroid.host.bench.option_values import numbers

    def values(name: str) -> list[int]:
        return numbers(words.get(name, "0"), name, least=0)

    tests = [(n, 0) for n in values("prompt")] + [(0, n) for n in values("generate")]
    return [
        {"-t": str(threads), "-p": str(prompt), "-n": str(generate), "-d": str(depth)}
        for threads in values("threads")
        for prompt, generate in tests
        for depth in values("depth")
    ]


def _seconds(work: object, second: float, options: Mapping[str, str]) -> float:
    return work(options) * second  # type: ignore[operator, no-any-return]


def _itself(phone: DrawnPhone) -> Target:
    return phone


def _model(path: Path) -> Path:
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 1)
    writer.add_tensor("embedding", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _figure(name: str, value: float, unit: str, against: str) -> None:
    value = round(value, 5)
    print(json.dumps({"name": name, "value": value, "low": value, "high": value, "unit": unit, "against": against}))


if __name__ == "__main__":
    main()
