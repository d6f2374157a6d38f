"""The command lines of llama-bench and llama-completion."""

from __future__ import annotations

from smoothdroid.host.llamacpp.settings import Options

TEMPLATE_TOKENS = 512
"""Room for what a chat template puts around a prompt."""


def llama_bench(
    tool: str, model: str, options: Options, *, threads: int, n_prompt: int, n_gen: int, repetitions: int
) -> list[str]:
    """Return the command line of llama-bench for one test. It prints its record as JSON, and its log."""
    argv = [tool, "-m", model, "-t", str(threads), "-p", str(n_prompt), "-n", str(n_gen)]
    argv += [word for setting, value in options.changed() for word in setting.bench_arguments(value)]
    # -v logs which kernels the weights were laid out for: 230 KB before it measures, nothing meanwhile.
    return [*argv, "-r", str(repetitions), "-o", "jsonl", "-v"]


def llama_completion(
    tool: str, model: str, prompt: str, *, max_tokens: int, threads: int, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """Return the command line of llama-completion for one prompt. It prints its timings on standard error."""
    argv = [tool, "-m", model, "-p", prompt, "-n", str(max_tokens), "-t", str(threads)]
    argv += ["--temp", str(temperature), "--seed", str(seed), "--no-display-prompt", "--perf"]
    # --no-escape: a backslash and an n in a prompt are those two characters.
    return [*argv, "--no-escape", "--ctx-size", str(context(prompt, max_tokens))]


def timed_completion(
    tool: str, model: str, prompt: str, options: Options, *, max_tokens: int, threads: int
) -> list[str]:
    """Return the command line that measures a prompt: the answer has `max_tokens`, even where the model would stop."""
    argv = llama_completion(tool, model, prompt, max_tokens=max_tokens, threads=threads)
    argv += [word for setting, value in options.changed() for word in setting.completion_arguments(value)]
    return [*argv, "--ignore-eos", "--single-turn", "-lv", "4"]


def context(prompt: str, max_tokens: int) -> int:
    """Return the tokens that a prompt with its answer can need at most; each token is at least a byte.

    The model's longest context could need a KV cache that is larger than the phone's memory.
    """
    return len(prompt.encode()) + max_tokens + TEMPLATE_TOKENS
