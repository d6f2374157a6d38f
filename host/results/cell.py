"""A cell: one setting of a plan, with its test and its protocol."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, Field

from smoothdroid.device.job.task import Cooling
from smoothdroid.host.llamacpp.settings import Options

PROTOCOL_VERSION = 3
"""The version of the protocol. Results of another version are not comparable, so it is part of every fingerprint."""


class Strict(BaseModel):
    """A part of a record: immutable, and without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Test(Strict):
    """Prefill of `n_prompt` tokens, or decode of `n_gen`; with a `prompt`, that text and an answer of `n_gen`."""

    __test__ = False  # no test of pytest's

    n_prompt: int = Field(default=0, ge=0)
    n_gen: int = Field(default=0, ge=0)
    prompt: str = ""
    sustained_s: int = Field(default=0, ge=0)
    """Duration of a sustained test, which has no pause; 0 for a burst of the protocol's repetitions."""

    @property
    def name(self) -> str:
        """The test as llama-bench prints it (pp512, tg128), `tg128 for 10 min`, or the first words of a prompt."""
        if self.prompt:
            words = " ".join(self.prompt.split())
            return f"“{words}”" if len(words) <= 24 else f"“{words[:22]}…” {_hash(self.prompt)[:4]}"
        name = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return f"{name} for {_minutes(self.sustained_s)}" if self.sustained_s else name

    @property
    def burst(self) -> Test:
        """The test as a burst."""
        return self.model_copy(update={"sustained_s": 0})


class Protocol(Strict):
    """The protocol of a cell: its repetitions and processes, and the waiting before each."""

    repetitions: int = Field(ge=1)
    """The least number of repetitions in a process, after a warm-up that does not count."""
    rounds: int = Field(default=1, ge=1)
    """The number of processes of a cell; the cells are interleaved in each round."""
    until: float | None = None
    """Rounds are added until half the interval is at most this share of the mean ..."""
    budget_s: int = Field(default=1200, ge=0)
    """... or this much time was spent on the cell."""
    cooling: Cooling | None = None
    """The temperature to wait for before each process."""
    seed: int = 0
    """The seed of the order of the cells in each round."""


class Cell(Strict):
    """One setting of a plan."""

    model: str
    model_sha256: str
    test: Test
    threads: int = Field(ge=1)
    cpus: tuple[int, ...] = ()
    """The CPUs that the cell may run on; empty leaves them to Android."""
    options: Options = Options()
    protocol: Protocol

    @property
    def rounds(self) -> int:
        """The least number of processes: one of a sustained test; a prompt is answered once in each."""
        if self.test.sustained_s:
            return 1
        return max(self.protocol.rounds, self.protocol.repetitions) if self.test.prompt else self.protocol.rounds

    @property
    def threads_label(self) -> str:
        """The number of threads in words: `1 thread`, `4 threads`."""
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def burst(self) -> Cell:
        """The cell as a burst, from which a sustained cell takes its number of repetitions."""
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
