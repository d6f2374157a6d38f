"""The cost of a separate process: loading and warm-up, relative to the time of its repetitions.

    python -m benchmarks.reload [--layers 32] [--threads 2] [--processes 3]

A Q8_0 file of Llama-2-7B's shape and random weights (7.2 GB with all 32 layers) is measured by this machine's
llama-bench, each time in a process of its own, as a cell of a campaign is. Its pages are dropped from the cache before
each process (cold) or left there (warm), as on a phone whose memory holds the model.

Last come the figures, a JSON object a line: median, lowest and highest of the processes, in seconds. `reload_cold` and
`reload_warm`: from the start of the process to its end, without the repetition. `repetition`: decode of `--tokens`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.host.bench.builds import build_for_this_machine
from smoothdroid.host.llamacpp import source
from smoothdroid.host.llamacpp.tool_output import parse_bench

HIDDEN, INTERMEDIATE, HEADS, VOCABULARY = 4096, 11008, 32, 32000
LAYERS = 32
BLOCK, BLOCK_BYTES = 32, 34  # of Q8_0: 32 weights and an f16 scale
SCALE = 0.001


def make(path: Path, layers: int) -> Path:
    """Write the model, unless it exists."""
    if path.exists():
        return path
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("no_vocab")
    for name, shape in _tensors(layers):
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
        else:
            writer.add_tensor(name, _matrix(*shape), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)
    return path


def _tensors(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from (("token_embd.weight", (VOCABULARY, HIDDEN)), ("output_norm.weight", (HIDDEN,)))
    yield "output.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        at = f"blk.{layer}."
        yield from ((f"{at}attn_norm.weight", (HIDDEN,)), (f"{at}ffn_norm.weight", (HIDDEN,)))
        yield from ((f"{at}attn_{part}.weight", (HIDDEN, HIDDEN)) for part in ("q", "k", "v", "output"))
        yield from ((f"{at}ffn_{part}.weight", (INTERMEDIATE, HIDDEN)) for part in ("gate", "up"))
        yield f"{at}ffn_down.weight", (HIDDEN, INTERMEDIATE)


def _matrix(rows: int, columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Yield Q8_0 blocks of random integers, row by row."""
    blocks = np.random.default_rng(0).integers(0, 256, (rows, columns // BLOCK, BLOCK_BYTES), dtype=np.uint8)
    blocks[..., :2] = np.frombuffer(np.float16(SCALE).tobytes(), np.uint8)
    return blocks.reshape(rows, -1)


def measure(tool: Path, model: Path, threads: int, tokens: int, *, cold: bool) -> tuple[float, float]:
    """Run llama-bench once, and return the seconds before its repetition and those of the repetition."""
    if cold:
        with model.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    argv = [str(tool), "-m", str(model), "-t", str(threads), "-p", "0", "-n", str(tokens), "-r", "1", "-o", "jsonl"]
    began = time.monotonic()
    done = subprocess.run(argv, check=True, capture_output=True, encoding="utf-8", errors="replace")
    took = time.monotonic() - began
    repetition = sum(parse_bench(done.stdout)[0].samples_ns) / 1e9
    return took - repetition, repetition


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=8, help="decoded in the repetition")
    parser.add_argument("--processes", type=int, default=3, help="of each kind")
    asked = parser.parse_args()
    built = build_for_this_machine(source.pinned())
    if built is None:
        raise SystemExit("no llama-bench here: `smoothdroid build --abi host`")
    work = cache_root() / "benchmarks" / "reload"
    work.mkdir(parents=True, exist_ok=True)
    model = make(work / f"llama2-7b-{asked.layers}.gguf", asked.layers)
    about = f"{model.stat().st_size / 1e9:.2f} GB as Q8_0, {asked.threads} threads"
    repetitions: list[float] = []
    for name, cold in (("reload_cold", True), ("reload_warm", False)):
        reloads = []
        for number in range(asked.processes):
            print(f"{name}: {number}/{asked.processes}", file=sys.stderr)
            reload, repetition = measure(built.tool("llama-bench"), model, asked.threads, asked.tokens, cold=cold)
            reloads.append(reload)
            repetitions.append(repetition)
        _print_figure(name, reloads, about)
    _print_figure("repetition", repetitions, f"{about}, decode of {asked.tokens} tokens")


def _print_figure(name: str, values: Sequence[float], against: str) -> None:
    value, low, high = (round(end, 2) for end in (statistics.median(values), min(values), max(values)))
    print(json.dumps({"name": name, "value": value, "low": low, "high": high, "unit": "s", "against": against}))


if __name__ == "__main__":
    main()
