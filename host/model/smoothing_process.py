"""The process that smooths: `python -m smoothdroid.host.model.smoothing_process JOB.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.common.child_process import Events
from smoothdroid.host.model.calibration.input_squares import InputSquares
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.calibration.smooth_checkpoint import smooth_checkpoint
from smoothdroid.host.model.checkpoint.description import description
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.head import settle_head
from smoothdroid.host.model.checkpoint.saving import save_changed
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.convert.llama_converter import GgufRequest, run_converter
from smoothdroid.host.model.smoothing import SmoothJob
from smoothdroid.host.model.smoothquant.architectures import architecture_of
from smoothdroid.host.model.smoothquant.tensor_changes import save_changes


def main(job: SmoothJob) -> None:
    """Run the job. Faults that the user can correct are reported to the parent; anything else is a traceback."""
    events = Events(job.events)
    try:
        device = choose_device(job.device)
        checkpoint = settle_head(open_checkpoint(job.checkpoint), events.step)
        Network(checkpoint)  # refuses names and shapes that are not config.json's, with its own messages
        run_converter(job.llama_cpp, job.checkpoint, Weights(checkpoint), GgufRequest("q8_0", None, checkpoint.name))
        squares = InputSquares(architecture_of(checkpoint.architecture)) if job.squares else None
        changes, outcome = smooth_checkpoint(
            checkpoint,
            job.settings,
            job.texts,
            job.checkpoint,
            device=device,
            say=events.step,
            squares=squares,
            on_progress=events.progress,
        )
        if job.save_hf:
            events.step("saving the smoothed checkpoint")
            save_changed(checkpoint, job.save_hf, changes)
    except SmoothdroidError as error:
        events.failed(error)
        raise
    if squares and job.squares:
        squares.save(job.squares)
    save_changes(changes, job.changes, description(checkpoint))
    job.outcome.write_text(outcome.model_dump_json(), encoding="utf-8")


def choose_device(name: str) -> torch.device:
    """Return the device that torch computes on: `auto`, `cpu` or `cuda`. Raises BadInput where there is no GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"cuda: this torch ({torch.__version__}) sees no GPU here. Use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main(SmoothJob.model_validate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
