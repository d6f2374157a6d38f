"""The cost of `prepare`: wall time, peak memory and bytes written, relative to the usual chain of tools.

    python benchmarks/prepare.py [--pairs 2]      # 1.1B-shaped, against the chain
    python benchmarks/prepare.py --shape 7b       # 7B-shaped, ours alone: peak memory

The chain: transformers loads the whole bf16 model, hooks, folds and saves it (benchmarks/chain.py); llama.cpp's
converter writes f16; llama-quantize writes Q8_0. Same checkpoint, same 16 x 512 tokens, ours and the chain in turn.
Memory is that of all the processes of a step together, looked at 20 times a second. Last come the figures, a JSON
object a line; low and high are the extremes of the pairs.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.shaped import SHAPES, make_shaped
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.host.bench.builds import build_for_this_machine
from smoothdroid.host.llamacpp import source

N_SAMPLES, SEQ_LEN = 16, 512
LOOK_EVERY_S = 0.05
BLOCK_BYTES = 512  # of getrusage
GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """The cost of a sequence of commands."""

    wall_s: float
    peak_rss_bytes: int
    written_bytes: int

    def __str__(self) -> str:
        """Return the cost for people to read."""
        gib, written = self.peak_rss_bytes / GIB, self.written_bytes / 1e9
        return f"{self.wall_s:.0f} s, {gib:.2f} GiB at most, {written:.2f} GB written"


def cost(commands: list[list[str]]) -> Cost:
    """Run the commands one after the other, and return their cost."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock
    started, peak = time.monotonic(), 0
    for command in commands:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            watch = _Peak(process.pid)
            watch.start()
            _, said = process.communicate()
            watch.done.set()
            watch.join()
        if process.returncode:
            raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{said[-2000:]}")
        peak = max(peak, watch.peak_bytes)
    written = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock - before) * BLOCK_BYTES
    return Cost(time.monotonic() - started, peak, written)


class _Peak(threading.Thread):
    """The peak resident memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.peak_bytes = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(LOOK_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, _rss_bytes(self._pid))


def _rss_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except (OSError, IndexError):  # it has just ended
        return 0
    return pages * resource.getpagesize() + sum(_rss_bytes(int(child)) for child in children)


def ours(checkpoint: Path, work: Path) -> list[list[str]]:
    """Run `smoothdroid prepare` without caches, and return its cost."""
    shutil.rmtree(work / "ours", ignore_errors=True)
    tool = str(Path(sys.executable).with_name("smoothdroid"))
    sizes = ["--n-samples", str(N_SAMPLES), "--seq-len", str(SEQ_LEN)]
    return [[tool, "prepare", str(checkpoint), "-o", str(work / "ours"), "--no-plain", *sizes]]


def chain(checkpoint: Path, work: Path) -> list[list[str]]:
    """Run the usual chain without caches, and return its cost."""
    shutil.rmtree(work / "chain", ignore_errors=True)
    (work / "chain").mkdir(parents=True)
    saved, f16, q8_0 = (str(work / "chain" / name) for name in ("saved", "f16.gguf", "q8_0.gguf"))
    converter = source.unpacked(source.pinned()).folder / "convert_hf_to_gguf.py"
    built = build_for_this_machine(source.pinned())
    if built is None:
        raise SystemExit("llama-quantize is not built: run `smoothdroid build --abi host`")
    return [
        [sys.executable, "-m", "benchmarks.chain", str(checkpoint), saved, str(N_SAMPLES), str(SEQ_LEN)],
        [sys.executable, str(converter), saved, "--outtype", "f16", "--outfile", f16],
        [str(built.tool("llama-quantize")), f16, q8_0, "Q8_0"],
    ]


def figure(name: str, values: list[float], unit: str, against: str) -> str:
    """Return one figure as JSON."""
    digits = [round(value, 4) for value in (median(values), min(values), max(values))]
    return json.dumps(
        {"name": name, "value": digits[0], "low": digits[1], "high": digits[2], "unit": unit, "against": against}
    )


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    parser.add_argument("--pairs", type=int, default=2, help="how often ours and the chain are run, in turn")
    arguments = parser.parse_args()
    work = cache_root() / "benchmarks"
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = make_shaped(work / f"llama-{arguments.shape}-shaped", SHAPES[arguments.shape])
    if arguments.shape == "7b":
        found = cost(ours(checkpoint, work))
        print(f"ours, 7B-shaped: {found}")
        print(figure("peak_rss_7b_gib", [found.peak_rss_bytes / GIB], "GiB", "3 GiB"))
        return
    pairs: list[tuple[Cost, Cost]] = []
    for number in range(1, arguments.pairs + 1):
        pairs.append((cost(ours(checkpoint, work)), cost(chain(checkpoint, work))))
        print(f"pair {number}: ours {pairs[-1][0]}\n        chain {pairs[-1][1]}", flush=True)
    against = "transformers (whole model, bf16), convert_hf_to_gguf.py f16, llama-quantize"
    print(figure("wall", [a.wall_s / b.wall_s for a, b in pairs], "ratio", against))
    print(figure("peak_rss", [a.peak_rss_bytes / b.peak_rss_bytes for a, b in pairs], "ratio", against))
    print(figure("bytes", [a.written_bytes / b.written_bytes for a, b in pairs], "ratio", against))
    shutil.rmtree(work / "chain")
    shutil.rmtree(work / "ours")


if __name__ == "__main__":
    main()
