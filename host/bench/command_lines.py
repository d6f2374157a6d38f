"""A cell -> the command that measures it on a phone, and what that must have measured."""

from __future__ import annotations

from smoothdroid.host.llamacpp.kernel_log import Kernels
from smoothdroid.host.llamacpp.tool_output import BenchRecord, NoNumber
from smoothdroid.host.results.cell import Cell, Options

LOAD_MODES = {"on": "mmap", "off": "none"}  # llama-bench's words for mmap
TEMPLATE_TOKENS = 512  # room for what a chat template puts around a prompt


def llama_bench(tool: str, model: str, cell: Cell, repetitions: int) -> list[str]:
    """llama-bench's command line."""
    options = cell.options
    argv = [tool, "-m", model, "-t", str(cell.threads), "-p", str(cell.test.n_prompt), "-n", str(cell.test.n_gen)]
    argv += ["-d", str(options.depth)] if options.depth else []
    argv += ["-lm", LOAD_MODES[options.mmap]] if options.mmap else []
    # -v tells which kernels the weights were laid out for: 230 KB before it measures, nothing meanwhile.
    return [*argv, *_common(options), "-r", str(repetitions), "-o", "jsonl", "-v"]


def llama_completion(
    tool: str, model: str, prompt: str, *, max_tokens: int, threads: int, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """llama-completion's command line for one prompt; its timings on standard error."""
    argv = [tool, "-m", model, "-p", prompt, "-n", str(max_tokens), "-t", str(threads)]
    argv += ["--temp", str(temperature), "--seed", str(seed), "--no-display-prompt", "--perf"]
    # --no-escape: a backslash and an n in a prompt are those two characters.
    return [*argv, "--no-escape", "--ctx-size", str(context(prompt, max_tokens))]


def context(prompt: str, max_tokens: int) -> int:
    """The tokens that a prompt can need at most (each is at least a byte), with its answer.

    Not the model's longest: its KV cache may be larger than the phone's memory.
    """
    return len(prompt.encode()) + max_tokens + TEMPLATE_TOKENS


def answer(tool: str, model: str, cell: Cell) -> list[str]:
    """The command line of a cell with a real prompt: as long an answer as was asked for, whatever the model says."""
    test, options = cell.test, cell.options
    argv = llama_completion(tool, model, test.prompt, max_tokens=test.n_gen, threads=cell.threads)
    argv += ["--no-mmap"] if options.mmap == "off" else []
    return [*argv, *_common(options), "--ignore-eos", "--single-turn", "-lv", "4"]


def check(records: list[BenchRecord], cell: Cell, kernels: Kernels) -> BenchRecord:
    """The one record that was asked for. Raises NoNumber when llama-bench measured something else.

    What this version of llama-bench, or its log, does not tell is not held against it.
    """
    record, options = records[0], cell.options
    got: dict[str, object] = {
        "records": len(records),
        "threads": record.n_threads,
        "prompt": record.n_prompt,
        "generate": record.n_gen,
        "depth": record.n_depth,
        "repetitions": len(record.samples_ts),
        "batch": record.n_batch,
        "ubatch": record.n_ubatch,
        "cache k": record.type_k,
        "cache v": record.type_v,
        "load mode": record.load_mode,
        "flash attention": None if kernels.flash_attention is None else "on" if kernels.flash_attention else "off",
    }
    asked: dict[str, object] = {
        "records": 1,
        "threads": cell.threads,
        "prompt": cell.test.n_prompt,
        "generate": cell.test.n_gen,
        "depth": cell.options.depth,
        # More than the protocol says where these would have been over too soon to be sampled.
        "repetitions": max(len(record.samples_ts), cell.protocol.repetitions),
        "batch": options.batch,
        "ubatch": options.ubatch,
        "cache k": options.cache_k,
        "cache v": options.cache_v,
        "load mode": options.mmap and LOAD_MODES[options.mmap],
        "flash attention": None if options.flash_attention == "auto" else options.flash_attention,
    }
    wrong = [
        f"{name} {asked[name]}, it ran {got[name]}"
        for name in asked
        if asked[name] is not None and got[name] is not None and got[name] != asked[name]
    ]
    if wrong:
        raise NoNumber(f"llama-bench did not measure what it was asked for: {'; '.join(wrong)}")
    return record


def _common(options: Options) -> list[str]:
    flags = {
        "-b": options.batch,
        "-ub": options.ubatch,
        "-ctk": options.cache_k,
        "-ctv": options.cache_v,
        "-fa": options.flash_attention,
    }
    return [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
