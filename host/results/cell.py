"""One setting of a plan: what is measured, and how."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, Field

from smoothdroid.device.job.session import Cooling
from smoothdroid.host.llamacpp.settings import Options

PROTOCOL_VERSION = 3
"""Of how a cell is measured; a change makes old results incomparable, so it is part of every fingerprint."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Test(_Part):
    """Prefill of `n_prompt` tokens, or decode of `n_gen`; with a `prompt`, that text and an answer of `n_gen`."""

    __test__ = False  # no test of pytest's

    n_prompt: int = Field(default=0, ge=0)
    n_gen: int = Field(default=0, ge=0)
    prompt: str = ""
    sustained_s: int = Field(default=0, ge=0)
    """So long without a pause; 0: a burst of as many repetitions as the protocol says."""

    @property
    def name(self) -> str:
        """As llama-bench prints it, pp512, tg128; `tg128 for 10 min`; for a prompt, its first words."""
        if self.prompt:
            words = " ".join(self.prompt.split())
            return f"“{words}”" if len(words) <= 24 else f"“{words[:22]}…” {_hash(self.prompt)[:4]}"
        name = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return f"{name} for {_minutes(self.sustained_s)}" if self.sustained_s else name

    @property
    def burst(self) -> Test:
        """The same without the time to keep it up."""
        return self.model_copy(update={"sustained_s": 0})


class Protocol(_Part):
    """How a cell is repeated."""

    repetitions: int = Field(ge=1)
    """Least number in one process, after a warm-up that does not count."""
    rounds: int = Field(default=1, ge=1)
    """Processes of a cell; all cells take turns in each round."""
    until: float | None = None
    """More rounds until half the interval is no more than this share of the mean ..."""
    budget_s: int = Field(default=1200, ge=0)
    """... or this much time was spent on the cell."""
    cooling: Cooling | None = None
    """What is waited for before each."""
    seed: int = 0
    """Of the order in which cells take turns."""


class Cell(_Part):
    """One setting of a plan."""

    model: str
    model_sha256: str
    test: Test
    threads: int = Field(ge=1)
    cpus: tuple[int, ...] = ()
    """The CPUs that it may run on; empty: those that Android gives it."""
    options: Options = Options()
    protocol: Protocol

    @property
    def rounds(self) -> int:
        """Least number of processes. A sustained test is one; a prompt is answered once in each."""
        if self.test.sustained_s:
            return 1
        return max(self.protocol.rounds, self.protocol.repetitions) if self.test.prompt else self.protocol.rounds

    @property
    def burst(self) -> Cell:
        """The same, short: what a sustained cell takes its number of repetitions from."""
        return self.model_copy(update={"test": self.test.burst})

    def fingerprint(self, phone_id: str, transport: str, build_id: str) -> str:
        """Return the identity of a measurement: equal fingerprints need not be measured twice.

        `transport` is in it because Android schedules a Termux process differently from one of adb's shell. A setting
        that has its default is not in it, so that a setting that is added later leaves old results be.
        """
        settings = self.model_dump(mode="json", exclude={"model"}, exclude_defaults=True)
        identity = json.dumps([PROTOCOL_VERSION, phone_id, transport, build_id, settings], sort_keys=True)
        return _hash(identity)[:16]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _minutes(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
