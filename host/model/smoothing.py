"""Smoothing in a process of its own: from here without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from smoothdroid.host.common.child_process import Job, OnProgress, run_child
from smoothdroid.host.model.provenance.manifest import Smoothing, SmoothingOutcome


class SmoothJob(Job):
    """What is to be smoothed, and how."""

    checkpoint: Path
    """A staged one: data only."""
    shown: Path
    """The user's name for it, for messages."""
    llama_cpp: Path
    """A llama.cpp source tree, whose converter looks at the checkpoint before it is smoothed."""
    settings: Smoothing
    text_name: str
    text: str
    device: str
    changes: Path
    """Where the changes go: a file of `changes.save_changes`."""
    outcome: Path
    save_hf: Path | None
    """A folder to be made, for the smoothed checkpoint."""


def smooth(
    job: SmoothJob, log: Path, *, on_step: Callable[[str], None], on_progress: OnProgress | None = None
) -> SmoothingOutcome:
    """Do the job. Raises BadInput and SmoothdroidError as `smooth_checkpoint` and `run_converter` do."""
    who = f"smoothing {job.checkpoint.name}"
    run_child(
        "smoothdroid.host.model.smoothing_process",
        job,
        log,
        name=who,
        on_step=on_step,
        on_progress=on_progress,
        paths={job.checkpoint: job.shown},
    )
    return SmoothingOutcome.model_validate_json(job.outcome.read_bytes())
