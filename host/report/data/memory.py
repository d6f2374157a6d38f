"""The memory that models took on a phone: weights, KV cache, and the benchmark's peak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.host.report.data.model_files import ModelFile
from smoothdroid.host.report.data.phone_results import PhoneResults
from smoothdroid.host.report.data.rows import CellRow
from smoothdroid.host.results.record import Run, conditions


@dataclass(frozen=True)
class MemoryUse:
    """The memory that a model took on a phone, in the run with the highest peak; MiB, None where not measured."""

    file: ModelFile
    row: CellRow | None
    """The cell that the run belongs to."""
    weights_mb: float | None
    """llama.cpp's own buffers of weights, repacked ones included."""
    cache_mb: float | None
    """The KV cache."""
    pss_mb: float | None
    """The benchmark's peak PSS: pages that it shares with others count in part."""

    @property
    def measured(self) -> bool:
        """True if there is a figure to show."""
        return self.weights_mb is not None or self.pss_mb is not None


def memory_use(phone: PhoneResults, files: Iterable[ModelFile]) -> list[MemoryUse]:
    """Return the memory use of each of the files that the phone's plans have, in their order."""
    runs: dict[str, list[_RunMemory]] = {}
    for evaluated in phone.campaigns:
        for row in evaluated.rows:
            for run in row.judged.runs:
                runs.setdefault(row.judged.cell.model_sha256, []).append(_run_memory(evaluated.folder, row, run))
    return [_highest(file, runs.get(file.sha256, [])) for file in files if file.sha256 in phone.models]


@dataclass(frozen=True)
class _RunMemory:
    """The memory that one run took, in MiB; None where it was not measured."""

    row: CellRow
    run: Run
    pss_mb: float | None

    @property
    def rank(self) -> tuple[float, float]:
        """The order of runs: by peak, then by KV cache."""
        return self.pss_mb or 0, (self.run.kernels and self.run.kernels.cache_mb) or 0


def _run_memory(folder: Path, row: CellRow, run: Run) -> _RunMemory:
    seen = conditions(folder, run, damage=[])  # damaged samples were reported when the cell was evaluated
    return _RunMemory(row, run, seen.pss_peak_mb if seen else None)


def _highest(file: ModelFile, runs: list[_RunMemory]) -> MemoryUse:
    if not runs:
        return MemoryUse(file, None, None, None, None)
    highest = max(runs, key=lambda run: run.rank)
    kernels = highest.run.kernels
    weights = sum(kernels.weights_mb.values()) if kernels and kernels.weights_mb else None
    return MemoryUse(file, highest.row, weights, kernels.cache_mb if kernels else None, highest.pss_mb)
