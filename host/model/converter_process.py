"""The process that converts: `python -m host.model.converter_process JOB.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from device.errors import SmoothdroidError
from host.model.changes import load_changes
from host.model.checkpoint import open_checkpoint
from host.model.child import Events
from host.model.convert import ConvertJob
from host.model.folds import BLOCKS
from host.model.head import settle_head
from host.model.llama_converter import Wanted, run_converter
from host.model.network import Network
from host.model.weights import Weights


def main(job: ConvertJob) -> None:
    """Do the job. The parent hears of what is wrong with the model; anything else is a traceback."""
    events = Events(job.events)
    try:
        checkpoint = open_checkpoint(job.checkpoint)
        if not job.changes:  # a smoothing has looked already
            checkpoint = settle_head(checkpoint, events.step)
            if checkpoint.architecture in BLOCKS:
                Network(checkpoint)  # refuses shapes that are not config.json's
        weights = Weights(checkpoint, load_changes(job.changes) if job.changes else {})
        wanted = Wanted(job.quantisation, job.output, job.name, job.metadata)
        run_converter(job.llama_cpp, job.checkpoint, weights, wanted)
    except SmoothdroidError as error:
        events.failed(error)
        raise


if __name__ == "__main__":
    main(ConvertJob.model_validate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
