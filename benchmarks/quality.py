"""The accuracy of `--alpha auto`: mean KLD to float32 relative to the plain file, on unseen text.

    python -m benchmarks.quality

The model is the sample with a seeded dither of half a grid step on every quantised weight (benchmarks/dithered.py):
as it came, its weights sit on a 4-bit grid, which flatters plain Q4_0 and Q8_0. The reference is that model in float32
through the real llama-perplexity. ggml is the real llama-perplexity on this machine's kernels; kleidiai is emulated.
Rotation is allowed, and with it a head of its own for a model whose head is tied: auto's file is then a fifth larger,
on this small model, than plain's. `tied` figures are those of a file as large as plain's. Alpha 0.5 (norm folds, the
paper's) stands beside. Last come the figures, a JSON object a line; low and high bound the paired 95 % interval over
the windows of text.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.dithered import make_dithered
from smoothdroid.device.common.cache_folder import cache_root

TOOL = str(Path(sys.executable).with_name("smoothdroid"))
CASES = (("q8_0", "ggml"), ("q8_0", "kleidiai"), ("q4_0", "ggml"))
ALL_FOLDS = "norm,up-down,v-o,rotate"


def prepare(model: Path, folder: Path, *options: str) -> Path:
    """Run `smoothdroid prepare` and return the smoothed file, or the plain one where only that is requested."""
    arguments = [TOOL, "prepare", str(model), "-o", str(folder), "--json", *options]
    made = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return Path(made[0]["path"])


def evaluate(reference: Path, candidates: list[Path], folder: Path, kernel: str) -> list[dict[str, Any]]:
    """Run `smoothdroid evaluate` and return its facts on each candidate; the others are compared with the first."""
    arguments = [TOOL, "evaluate", str(reference), *map(str, candidates), "-o", str(folder), "--json"]
    arguments += [] if kernel == "ggml" else ["--kernel", kernel]
    told = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)
    models: list[dict[str, Any]] = told["models"][1:]
    return models


def link(path: Path, name: Path) -> Path:
    """Link the file under a name that distinguishes it in a table, and return the link."""
    name.unlink(missing_ok=True)
    name.hardlink_to(path)
    return name


def main() -> None:
    """Measure, and print the figures."""
    work = cache_root() / "benchmarks" / "quality"
    work.mkdir(parents=True, exist_ok=True)
    model = make_dithered(work / "dithered")
    reference = prepare(model, work / "reference", "--plain", "--type", "f32")
    figures: list[dict[str, object]] = []
    for quantisation, kernel in CASES:
        chosen = ["--type", quantisation, "--no-plain", "--alpha", "auto", "--kernel", kernel]
        folder = work / f"{quantisation}-{kernel}"
        candidates = {
            "plain": prepare(model, work / "plain", "--plain", "--type", quantisation),
            "": prepare(model, folder / "auto", *chosen, "--folds", ALL_FOLDS, "--untie"),
            "_tied": prepare(model, folder / "auto-tied", *chosen),
            "_alpha_0.5": prepare(model, work / "half", "--type", quantisation, "--no-plain", "--alpha", "0.5"),
        }
        named = [link(path, folder / f"{suffix or '_auto'}.gguf") for suffix, path in candidates.items()]
        found = evaluate(reference, named, folder, kernel)
        for (suffix, path), row in zip(candidates.items(), found, strict=True):
            kld, size_mb = row["mean_kld"], path.stat().st_size / 1e6
            print(
                f"{quantisation} {kernel:8} {suffix or '_auto':10} {size_mb:6.0f} MB  KLD {kld['value']:.5f}",
                flush=True,
            )
            if suffix != "plain":
                ratio = {key: round(row["kld_ratio"][key], 4) for key in ("value", "low", "high")}
                name = f"{quantisation}_{kernel}{suffix}"
                figures.append({"name": name, **ratio, "unit": "ratio", "against": "plain, same type and kernel"})
    for figure in figures:
        print(json.dumps(figure))


if __name__ == "__main__":
    main()
