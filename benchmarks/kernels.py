"""The value of the right ISA level: instructions per token with i8mm, relative to a build without -march.

    python -m benchmarks.kernels [--runs 2]

llama.cpp's docs/android.md builds for arm64-v8a with no -march: that is our level v8.0. Both builds of llama-bench run
the sample model, Q8_0 and Q4_0, one thread, alone in a virtual machine whose clock counts instructions
(benchmarks/guest.py). Wall time under emulation is no measure of a phone; this count is the same on every machine.

What an instruction count cannot see: that one instruction takes longer than another; caches and DRAM, which bound
decode on a real phone once a token's instructions take less time than its bytes (so decode gains less there than
here); clocks, other cores, heat.

Last come the figures, a JSON object a line: instructions of ours over those of v8.0, low and high over the runs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

from benchmarks import guest
from benchmarks.quality import prepare
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.llamacpp.tool_output import parse_bench
from smoothdroid.host.model.checkpoint import sample

OURS, AGAINST = "i8mm", "v8.0"
PROMPT, GENERATE = 32, 4  # tokens
Instructions = dict[str, float]
"""prefill and decode -> instructions per token."""


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2, help="of each build and type")
    runs = parser.parse_args().runs
    work = cache_root() / "benchmarks" / "kernels"
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / "sample"
    sample.make_sample(checkpoint)
    figures = []
    for kind in ("q8_0", "q4_0"):
        model = prepare(checkpoint, work / "models", "--plain", "--type", kind)
        found = {isa: [instructions(isa, model, work) for _ in range(runs)] for isa in (OURS, AGAINST)}
        for phase in ("prefill", "decode"):
            counts = {isa: [one[phase] for one in found[isa]] for isa in found}
            told = ", ".join(f"{isa} {median(values) / 1e6:.1f} million" for isa, values in counts.items())
            print(f"{phase} {kind}: {told} instructions a token", flush=True)
            ratios = [ours / theirs for ours, theirs in zip(counts[OURS], counts[AGAINST], strict=True)]
            ends = {"value": median(ratios), "low": min(ratios), "high": max(ratios)}
            figures.append(
                {
                    "name": f"{phase}_{kind}",
                    **{name: round(value, 4) for name, value in ends.items()},
                    "unit": "ratio of guest instructions per token",
                    "against": "llama.cpp for arm64-v8a without -march (docs/android.md)",
                }
            )
    for figure in figures:
        print(json.dumps(figure))


def instructions(isa: str, model: Path, work: Path) -> Instructions:
    """Return the instructions per token of a build's llama-bench."""
    built = compiler.find([variants.find("arm64-v8a", isa)], source.pinned())
    if built is None:
        raise SystemExit(f"not built: run `smoothdroid build --abi arm64-v8a --isa {isa}`")
    arguments = ["-m", "/model", "-t", "1", "-p", str(PROMPT), "-n", str(GENERATE), "-r", "1", "-o", "jsonl"]
    said = guest.run(guest.kernel(work / "kernel"), built.tool("llama-bench"), arguments, {"model": model}, work)
    records = {"prefill" if record.n_prompt else "decode": record for record in parse_bench(said)}
    return {phase: record.samples_ns[0] / (record.n_prompt + record.n_gen) for phase, record in records.items()}


if __name__ == "__main__":
    main()
