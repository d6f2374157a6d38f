"""What to measure: models, threads and tests, parsed and checked before anything is touched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from device.errors import BadInput
from device.session import Cooling
from host.bench.artifact import Artifact

PROTOCOL_VERSION = 2
"""Of how a cell is measured; a change makes old results incomparable, so it is part of every fingerprint."""

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:([+*])(\d+))?)?", re.ASCII)
_COOLING = re.compile(r"(?:(start)(?:\+(?=\d)|$)|(?=\d))(\d{1,3}(?:\.\d{1,3})?)?", re.ASCII)
MOST_DIGITS = 9  # llama-bench keeps these numbers in an int
MOST_VALUES = 1000  # of one list: a slip of the finger must not become a plan that runs for weeks


class Test(BaseModel):
    """One llama-bench test: prefill of `n_prompt` tokens, or decode of `n_gen`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    __test__ = False  # no test of pytest's

    n_prompt: int = Field(ge=0)
    n_gen: int = Field(ge=0)

    @property
    def name(self) -> str:
        """As llama-bench prints it: pp512, tg128."""
        return f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"


class Cell(BaseModel):
    """One setting of a plan: what one run of llama-bench measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    model_sha256: str
    threads: int = Field(ge=1)
    test: Test
    repetitions: int = Field(ge=1)
    cpus: list[int] = Field(default_factory=list)
    """The CPUs that it may run on; empty: those that Android gives it."""
    cooling: Cooling | None = None
    """What is waited for before it."""

    def fingerprint(self, phone_id: str, way: str, build_id: str) -> str:
        """The identity of a measurement: equal fingerprints need not be measured twice.

        `way` is in it because Android schedules a Termux process differently from one of adb's shell.
        """
        settings = [self.model_sha256, self.threads, self.test.n_prompt, self.test.n_gen, self.repetitions]
        conditions = [self.cpus, self.cooling and self.cooling.model_dump()]
        identity = [PROTOCOL_VERSION, phone_id, way, build_id, *settings, *conditions]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


class Plan(BaseModel):
    """A sweep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[Artifact] = Field(min_length=1)
    threads: list[int] = Field(min_length=1)
    tests: list[Test] = Field(min_length=1)
    repetitions: int = Field(ge=1)
    cpus: list[int] = Field(default_factory=list)
    """The CPUs that every cell may run on; empty: those that Android gives it."""
    cooling: Cooling | None = None
    """What is waited for before each cell."""

    def cells(self) -> Iterator[Cell]:
        """All cells; the models take turns within a setting, so that a phone that warms up slows both alike."""
        for test in self.tests:
            for threads in self.threads:
                for model in self.models:
                    yield Cell(
                        model=model.name,
                        model_sha256=model.sha256,
                        threads=threads,
                        test=test,
                        repetitions=self.repetitions,
                        cpus=self.cpus,
                        cooling=self.cooling,
                    )


def make(
    models: Sequence[Artifact],
    *,
    threads: str,
    prompt: str,
    generate: str,
    repetitions: int,
    cpu_count: int,
    cooling: Cooling | None = None,
) -> Plan:
    """A plan from the command line's words. Raises BadInput for a list that is empty, malformed or impossible.

    `prompt` and `generate` are lists of lengths in tokens, in llama-bench's syntax; `0` leaves that half out.
    """
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"two models are called {twice[0]}; rename one, or the report could not tell them apart")
    named = {model.sha256: model.name for model in models}
    for model in models:
        if named[model.sha256] != model.name:
            raise BadInput(f"{model.name} and {named[model.sha256]} are the same model, byte for byte; leave one out")
    counts = parse_list(threads, "--threads")
    if beyond := [count for count in counts if count > cpu_count]:
        raise BadInput(f"--threads {threads}: {max(beyond)} threads on {cpu_count} CPUs would only wait for each other")
    tests = [Test(n_prompt=n, n_gen=0) for n in parse_list(prompt, "--prompt", least=0) if n]
    tests += [Test(n_prompt=0, n_gen=n) for n in parse_list(generate, "--generate", least=0) if n]
    if not tests:
        raise BadInput("--prompt 0 and --generate 0 leave nothing to measure")
    if repetitions < 1:
        raise BadInput(f"--repetitions {repetitions}: at least 1")
    return Plan(models=list(models), threads=counts, tests=tests, repetitions=repetitions, cooling=cooling)


def parse_cooling(text: str, within_s: int) -> Cooling:
    """`40` (degrees Celsius) or `start+2` (above what it was when the job began). Raises BadInput."""
    match = _COOLING.fullmatch(text.replace(" ", ""))
    if not match:
        raise BadInput(f"--cool {text!r}: write degrees, as in 40, or above the start, as in start+2")
    above, degrees = match[1], float(match[2] or 0)
    return Cooling(above_start=degrees, within_s=within_s) if above else Cooling(celsius=degrees, within_s=within_s)


def parse_list(text: str, option: str, *, least: int = 1) -> list[int]:
    """llama-bench's lists: `1,2,4`, `1-8`, `2-8+2`, `1-8*2` -> numbers, in order, each once.

    Raises BadInput when it is empty, malformed, holds a number below `least`, or a range that never ends.
    """
    values: dict[int, None] = {}
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if not match:
            raise BadInput(
                f"{option} {text!r}: `{item}` is no number and no range; write 1,2,4 or 1-8 or 2-8+2 or 1-8*2"
            )
        if max(len(number or "") for number in match.group(1, 2, 4)) > MOST_DIGITS:
            raise BadInput(f"{option} {text[:40]!r}: a number of more than {MOST_DIGITS} digits is too large")
        first = int(match[1])
        last, operator, step = int(match[2] or first), match[3] or "+", int(match[4] or 1)
        if last < first:
            raise BadInput(f"{option} {text!r}: the range {item} is empty, {last} is below {first}")
        value = first
        while value <= last:
            if value < least:
                raise BadInput(f"{option} {text!r}: {value} is below {least}")
            values[value] = None
            following = value + step if operator == "+" else value * step
            if following <= value:
                raise BadInput(f"{option} {text!r}: the range {item} never ends")
            value = following
            if len(values) > MOST_VALUES:
                raise BadInput(f"{option} {text!r}: more than {MOST_VALUES} values")
    return list(values)
