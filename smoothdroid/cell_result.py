"""The result of one cell, as a flat record of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class CellResult:
    """One cell of one campaign. The fields are columns of the table `cells` of `smoothdroid query`."""

    campaign: str
    """The campaign's folder."""
    phone: str
    """Maker and model."""
    soc: str
    """The SoC, as the phone names it."""
    transport: str
    """`adb`, `ssh` or `local`."""
    emulated: bool
    """True for an emulated phone, whose tokens/s are no phone's speed."""
    model: str
    """The name of the GGUF file, without its suffix."""
    test: str
    """`pp512` for prefill, `tg128` for decode, or the first words of a prompt."""
    n_threads: int
    """The number of threads."""
    cpus: str
    """The CPU mask by name, such as `big+mid`; `any` without one."""
    settings: str
    """The settings of llama.cpp that differ from its defaults; empty for most cells."""
    verdict: str | None
    """`valid`, or the problems that the checks found; None where nothing was measured."""
    tokens_per_s: float | None
    """The mean over processes; None unless the verdict is `valid`."""
    tokens_per_s_low: float | None
    """The lower end of the 95% confidence interval; None with a single process."""
    tokens_per_s_high: float | None
    """The upper end of the interval."""
    processes: int
    """The number of processes that the figures come from."""
    repetitions: int
    """The number of repetitions in all of these processes."""
    first_token_s: float | None
    """Seconds from the loaded model to the first token of the answer to a prompt."""
    joules_per_token: float | None
    """Energy of the whole phone for each token, on battery."""
    remark: str
    """The findings in words, or the reason why nothing was measured."""

    @property
    def valid(self) -> bool:
        """True when the figures count."""
        return self.verdict == "valid"

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> CellResult:
        """Return the cell of a row of the table `cells`, joined with its campaign's."""
        return cls(**{field.name: columns[field.name] for field in fields(cls)})
