"""Fuzz one kind of input, or all of them.

    python -m tests.fuzz [KIND] [--seed N] [--mutations N] [--keep FOLDER]

Prints a line for each kind, and for each different failure its error and the damaged input, which --keep stores. Exits
with 1 where something failed. An input that takes more than a share of memory or of CPU time fails too.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import FUZZED, Fuzzed

MOST_BYTES = 512 << 20
"""Of memory on top of what the program takes before the first input."""
MOST_CPU_S = 20
"""For one input: a thousand times what the slowest takes."""


class TooLong(BaseException):
    """An input took too much CPU time. No `except Exception` hides it."""


def main() -> None:
    """Fuzz, and say what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=sorted(FUZZED))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutations", type=int)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    _limit_memory()
    signal.signal(signal.SIGPROF, _end)
    kinds = [options.kind] if options.kind else list(FUZZED)
    failed = 0
    for kind in kinds:
        fuzzed = FUZZED[kind]
        failures = _fuzz(fuzzed, options.mutations or fuzzed.mutations, options.seed)
        print(f"{kind}: {options.mutations or fuzzed.mutations} mutations, {len(failures)} different failures")
        for number, (place, (said, content)) in enumerate(failures.items()):
            print(f"  {place}: {said}\n    {content[:300]!r}")
            if options.keep:
                (options.keep / f"{kind.replace(' ', '-')}-{number}").write_bytes(content)
        failed += len(failures)
    sys.exit(bool(failed))


def _fuzz(fuzzed: Fuzzed, mutations: int, seed: int) -> dict[str, tuple[str, bytes]]:
    """Where in the code it failed -> the error, and the input."""
    failures: dict[str, tuple[str, bytes]] = {}
    chance = random.Random(seed)  # noqa: S311 (no secret)
    with tempfile.TemporaryDirectory() as work:
        inputs = fuzzed.inputs(Path(work))
        for content in inputs:
            fuzzed.read(content, _folder(work, "whole"))
        for _ in range(mutations):
            content = mutated(chance.choice(inputs), inputs, chance)
            signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
            try:
                fuzzed.read(content, _folder(work, "mutated"))
            except fuzzed.errors:
                pass
            except (Exception, TooLong) as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{Path(last.filename).name}, line {last.lineno}, {type(error).__name__}"
                failures.setdefault(place, (str(error)[:300], content))
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    return failures


def _folder(work: str, name: str) -> Path:
    folder = Path(work) / name
    folder.mkdir(exist_ok=True)
    return folder


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _end(*_: object) -> None:
    raise TooLong(f"more than {MOST_CPU_S} s of CPU time")


if __name__ == "__main__":
    main()
