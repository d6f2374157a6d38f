"""Start the process that smooths; this side needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from smoothdroid.host.common.child_process import ChildJob, OnProgress, run_child
from smoothdroid.host.model.provenance.manifest import Smoothing, SmoothingOutcome
from smoothdroid.host.model.texts.prose import Prose


class SmoothJob(ChildJob):
    """A smoothing: the checkpoint, the settings, and the files to write."""

    checkpoint: Path
    """A staged checkpoint, which holds data only."""
    shown: Path
    """The user's path of the checkpoint, for messages."""
    llama_cpp: Path
    """A llama.cpp source tree, whose converter looks at the checkpoint before it is smoothed."""
    settings: Smoothing
    texts: tuple[Prose, ...]
    device: str
    changes: Path
    """The file that the changes are written to, by `save_changes`."""
    outcome: Path
    squares: Path | None
    """A file for the mean squares of all linears' inputs, by `InputSquares.save`."""
    save_hf: Path | None
    """A folder to be made, for the smoothed checkpoint."""


def smooth(
    job: SmoothJob, log: Path, *, on_step: Callable[[str], None], on_progress: OnProgress | None = None
) -> SmoothingOutcome:
    """Run the job in a process of its own. Raises BadInput and SmoothdroidError as `smooth_checkpoint` does."""
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
