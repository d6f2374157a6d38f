"""The command line that measures a cell, and the check that it measured that cell."""

from __future__ import annotations

from smoothdroid.host.llamacpp import command_lines
from smoothdroid.host.llamacpp.kernel_log import Kernels
from smoothdroid.host.llamacpp.settings import SETTINGS
from smoothdroid.host.llamacpp.tool_output import BenchRecord, NoNumber
from smoothdroid.host.results.cell import Cell


def command_line(tool: str, model: str, cell: Cell, repetitions: int) -> list[str]:
    """Return the command line of a cell: llama-bench, or llama-completion for a prompt, which is answered once."""
    test = cell.test
    if test.prompt:
        return command_lines.timed_completion(
            tool, model, test.prompt, cell.options, max_tokens=test.n_gen, threads=cell.threads
        )
    return command_lines.llama_bench(
        tool,
        model,
        cell.options,
        threads=cell.threads,
        n_prompt=test.n_prompt,
        n_gen=test.n_gen,
        repetitions=repetitions,
    )


def check(records: list[BenchRecord], cell: Cell, kernels: Kernels) -> BenchRecord:
    """Return the record of a cell. Raises NoNumber when llama-bench measured something else.

    A value that this version of llama-bench reports neither in its record nor in its log is not checked.
    """
    record = records[0]
    repetitions = len(record.samples_ts)  # the protocol's number is the least: short ones are repeated more often
    pairs: list[tuple[str, object, object]] = [
        ("records", 1, len(records)),
        ("threads", cell.threads, record.n_threads),
        ("prompt", cell.test.n_prompt, record.n_prompt),
        ("generate", cell.test.n_gen, record.n_gen),
        ("repetitions", max(repetitions, cell.protocol.repetitions), repetitions),
    ]
    for setting in SETTINGS:
        value = getattr(cell.options, setting.name)
        if value is not None and value not in setting.undecided:
            pairs.append((setting.label, value, setting.measured(record, kernels)))
    wrong = [f"{name} {wanted}, it ran {ran}" for name, wanted, ran in pairs if ran is not None and ran != wanted]
    if wrong:
        raise NoNumber(f"llama-bench did not measure what it was asked for: {'; '.join(wrong)}")
    return record
