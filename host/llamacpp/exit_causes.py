"""Explain why a tool of llama.cpp ended: its exit status in words, and the line of its log that names the cause."""

from __future__ import annotations

import re
import shlex

from smoothdroid.device.common.errors import CommandFailed

LONGEST_LINE = 400
LAST_LINES = 3

MEANINGS = {
    126: "the phone may not execute it: is the folder mounted noexec (as /sdcard is), or the ABI another one?",
    127: "the phone cannot find it, or its loader",
    132: "illegal instruction: this build uses instructions that this phone's CPU lacks. Build a lower ISA level "
    "(`smoothdroid build --isa v8.0`)",
    134: "it aborted (SIGABRT): a check inside llama.cpp failed, or the memory was not enough",
    135: "bus error (SIGBUS): a page of the model could not be read. Is the storage failing, or was the file cut while "
    "it was in use?",
    136: "arithmetic error (SIGFPE), such as a division by zero: the model's settings hold a number that cannot be",
    137: "it was killed: too little memory (close other apps, or take a smaller model or depth), or Android's "
    "limit on background processes (Termux: turn off phantom process killing)",
    139: "it crashed (segmentation fault)",
    153: "it wrote more than its output files may hold",
    159: "bad system call (SIGSYS): Android's filter for apps forbids a system call that this build makes, as on "
    "Android 8 and 9 in Termux. Measure over adb, whose shell has no such filter, or build with an NDK",
}
"""Exit statuses as a shell reports them: 128 + signal for a death by signal."""

# A line with one of these names the cause; the first such line in the log counts, because others follow from it.
CAUSES = re.compile(
    r"""
    GGML_ASSERT\(.*\)\ failed | ggml_abort | \bfatal\ error\b
    | \bwhat\(\):\ | terminating\ (due\ to|with)\ uncaught\ exception | std::bad_alloc
    | has\ wrong\ (shape|type) | wrong\ number\ of\ tensors | missing\ tensor
    | not\ within\ the\ file\ bounds | corrupted\ or\ incomplete | invalid\ magic
    | unknown\ (model\ architecture|pre-tokenizer|tokenizer|(tensor\ )?type|argument)
    | invalid\ (argument|value|parameter)
    | error\ loading\ (model|vocabulary) | failed\ to\ open\ GGUF
    | (failed|unable)\ to\ (re)?allocate | insufficient\ memory | [Oo]ut\ of\ memory | Cannot\ allocate\ memory
    | mmap\ failed | No\ space\ left\ on\ device | Input/output\ error
    | CANNOT\ LINK\ EXECUTABLE | error\ while\ loading\ shared\ libraries | symbol\ not\ found
    | Exec\ format\ error | not\ executable | inaccessible\ or\ not\ found | Permission\ denied | Bad\ system\ call
    | failed\ to\ (initialize\ the\ context|decode|eval|compute|find\ a\ memory\ slot)
    """,
    re.VERBOSE,
)
# Lines that are harmless: memory that need not be locked, a first attempt whose retry may succeed.
HARMLESS = re.compile(r"\bmlock\b|warning: |common_fit_params|params_fit|ptrace|/sys/|ggml_opencl|ggml_vulkan")
# Lines that report a failure without its cause; frames of a backtrace.
CONSEQUENCES = re.compile(
    r"failed to load model|(unable|failed) to create context|^#\d+ |^\[?0x[0-9a-f]+|backtrace|\[New LWP"
)
_TIME = re.compile(r"^\d+\.\d\d\.\d{3}\.\d{3} [A-Z] ")


class ToolDied(CommandFailed):
    """A tool ended with a status other than 0; the message explains the status and quotes the line with the cause."""

    def __init__(self, failed: CommandFailed) -> None:
        """Explain the failure of a command."""
        super().__init__(failed.target, failed.argv, failed.status, failed.stdout, failed.stderr)
        status, quote = _status(failed), " / ".join(_quoted(failed)) or "it printed nothing"
        meaning = f" ({MEANINGS[status]})" if status in MEANINGS else ""
        self.args = (f"{failed.target}: `{shlex.join(failed.argv[:1])}` ended with status {status}: {quote}{meaning}",)


def why_it_died(error: CommandFailed) -> str:
    """Return the meaning of a tool's exit status, with the line of its log that names the cause."""
    status, lines = _status(error), _quoted(error)
    quote = f"; it printed: {' / '.join(lines)}" if lines else ""
    return f"`{shlex.join(error.argv[:1])}` ended with status {status}: {MEANINGS.get(status, 'it failed')}{quote}"


def _status(error: CommandFailed) -> int:
    """Return the exit status as a shell reports it; Python reports a death by a signal as a negative number."""
    return 128 - error.status if error.status < 0 else error.status


def _quoted(error: CommandFailed) -> list[str]:
    return cause(error.stderr) or cause(error.stdout) or _last_lines(error)


def cause(log: str) -> list[str]:
    """Return a list with the first line of a log that names a cause; an empty list where no line does."""
    for line in log.splitlines():
        if CAUSES.search(line) and not HARMLESS.search(line):
            return [_short(line)]
    return []


def _last_lines(error: CommandFailed) -> list[str]:
    """Return the last lines of a log, without mere consequences as long as there are other lines."""
    lines = [_short(line) for line in (error.stderr.strip() or error.stdout.strip()).splitlines()]
    causes = [line for line in lines if line and not CONSEQUENCES.search(line)]
    return (causes or lines)[-LAST_LINES:]


def _short(line: str) -> str:
    line = _TIME.sub("", line.strip()).strip()
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"
